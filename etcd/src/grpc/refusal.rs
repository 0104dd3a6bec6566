//! Says what tonic refuses by itself as etcd's library does: clients match on some of it.

use crate::convert::status;
use coffer_core::Error;
use http::Response;
use tonic::body::Body;
use tonic::{Code, Status};

/// Rewords the answer to a call of `path` if it is a refusal of tonic's.
pub(super) fn reword(path: &str, response: Response<Body>) -> Response<Body> {
    let Some(refusal) = Status::from_header_map(response.headers()) else { return response };
    if refusal.code() == Code::Unimplemented && refusal.message().is_empty() {
        return unknown_method(path).into_http();
    }
    match reworded(&refusal) {
        Some(status) => status.into_http(),
        None => response,
    }
}

/// Rewords what reading a message of a client's stream failed with. (Calls of one message are reworded centrally.)
pub(super) fn of_message(refusal: Status) -> Status {
    reworded(&refusal).unwrap_or(refusal)
}

/// The refusal of what no service is asked.
pub(super) fn unknown_service(path: &str) -> Status {
    match split(path) {
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

fn unknown_method(path: &str) -> Status {
    match split(path) {
        Some((service, method)) => {
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        }
        None => unknown_service(path),
    }
}

/// Service and method.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/').unwrap_or(path).rsplit_once('/')
}

/// What etcd would say of a message that could not be read.
fn reworded(refusal: &Status) -> Option<Status> {
    match refusal.code() {
        Code::OutOfRange => {
            let sizes = refusal.message().strip_prefix("Error, decoded message length too large: found ")?;
            let (found, limit) = sizes.strip_suffix(" bytes")?.split_once(" bytes, the limit is: ")?;
            let text = format!("grpc: received message larger than max ({found} vs. {limit})");
            Some(Status::resource_exhausted(text))
        }
        Code::Internal => {
            let mut text = refusal.message().strip_prefix("failed to decode Protobuf message: ")?;
            // Where in the message it was: as long as the message is deep.
            while let Some((place, rest)) = text.split_once(": ")
                && is_place(place)
            {
                text = rest;
            }
            // Only txns nest, and etcd has no room for so many operations.
            if text == "recursion limit reached" {
                return Some(status(Error::TooManyOps));
            }
            Some(Status::internal(format!("grpc: failed to unmarshal the received message: {text}")))
        }
        _ => None,
    }
}

/// Whether this is `Message.field`.
fn is_place(text: &str) -> bool {
    text.split_once('.').is_some_and(|(message, field)| {
        [message, field].iter().all(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_left_out_and_reasons_stay() {
        let reword = |text: &str| {
            let refusal = Status::internal(format!("failed to decode Protobuf message: {text}"));
            let status = of_message(refusal);
            (status.code(), status.message().to_owned())
        };
        let internal =
            |text: &str| (Code::Internal, format!("grpc: failed to unmarshal the received message: {text}"));
        assert_eq!(reword("invalid varint"), internal("invalid varint"));
        assert_eq!(
            reword("TxnRequest.success: RequestOp.request: invalid wire type value: 7"),
            internal("invalid wire type value: 7")
        );
        let deep = format!("{}recursion limit reached", "TxnRequest.success: RequestOp.request: ".repeat(50));
        let (code, text) = reword(&deep);
        assert_eq!(
            (code, &text[..]),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request")
        );
    }

    #[test]
    fn what_is_not_tonics_stays() {
        let own = Status::out_of_range("etcdserver: mvcc: required revision is a future revision");
        assert!(reworded(&own).is_none());
        assert!(reworded(&Status::internal("else")).is_none());
    }
}
