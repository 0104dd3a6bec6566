//! Messages made by hand.

use capnp::message::Builder;
use capnp::traits::HasTypeId;
use capnp_rpc::rpc_capnp::message;
use coffer_rpc::schema::gate_capnp::{gate, session};
use coffer_rpc::schema::kv_capnp::kv;

fn encode(build: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let mut builder = Builder::new_default();
    build(builder.init_root());
    capnp::serialize::write_message_to_words(&builder)
}

pub(crate) fn bootstrap(question: u32) -> Vec<u8> {
    encode(|message| message.init_bootstrap().set_question_id(question))
}

/// A call on what `target` will answer, at pointer `field` of it.
fn call(
    question: u32,
    target: u32,
    field: Option<u16>,
    interface: u64,
    method: u16,
    params: impl FnOnce(capnp::any_pointer::Builder<'_>),
) -> Vec<u8> {
    encode(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        call.set_interface_id(interface);
        call.set_method_id(method);
        let mut promised = call.reborrow().init_target().init_promised_answer();
        promised.set_question_id(target);
        if let Some(field) = field {
            promised.init_transform(1).get(0).set_get_pointer_field(field);
        }
        params(call.init_params().init_content());
    })
}

/// Bootstrap, login, and `kv` as the answer to question 2.
pub(crate) fn log_in() -> Vec<u8> {
    let mut bytes = bootstrap(0);
    bytes.extend(call(1, 0, None, gate::Client::TYPE_ID, 1, |params| {
        params.init_as::<coffer_rpc::schema::gate_capnp::login_request::Builder<'_>>().set_client_name("raw");
    }));
    bytes.extend(call(2, 1, Some(0), session::Client::TYPE_ID, 0, |params| {
        params.init_as::<session::kv_params::Builder<'_>>();
    }));
    bytes
}

pub(crate) fn range(question: u32, key: &[u8]) -> Vec<u8> {
    call(question, 2, Some(0), kv::Client::TYPE_ID, 0, |params| {
        let request = params.init_as::<coffer_rpc::schema::kv_capnp::range_request::Builder<'_>>();
        request.init_range().set_key(key);
    })
}

pub(crate) fn put(question: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    call(question, 2, Some(0), kv::Client::TYPE_ID, 1, |params| {
        let mut request = params.init_as::<coffer_rpc::schema::kv_capnp::put_request::Builder<'_>>();
        request.set_key(key);
        request.set_value(value);
    })
}

/// A range with a sort order that no version of the schema knows.
pub(crate) fn range_of_unknown_order(question: u32) -> Vec<u8> {
    let bytes = call(question, 2, Some(0), kv::Client::TYPE_ID, 0, |params| {
        let mut request = params.init_as::<coffer_rpc::schema::kv_capnp::range_request::Builder<'_>>();
        request.set_sort_order(coffer_rpc::schema::kv_capnp::range_request::SortOrder::Descend);
        request.set_limit(0x0102_0304_0506_0708);
        request.init_range().set_key(b"k");
    });
    // The order is the two bytes after limit and revision.
    let limit = 0x0102_0304_0506_0708_u64.to_le_bytes();
    let at = bytes.windows(8).position(|window| window == limit).unwrap() + 16;
    let mut bytes = bytes;
    assert_eq!(bytes[at..at + 2], [2, 0]);
    bytes[at] = 77;
    bytes
}
