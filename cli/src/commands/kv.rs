//! `get`, `put` and `del`, as commands and as the requests that `txn` reads.

use crate::args::kv::{Consistency, DelOptions, Extent, GetOptions, PutOptions};
use crate::failure::Failure;
use crate::output::json::{DeleteJson, PutJson, RangeJson};
use crate::output::{Format, Output};
use bytes::Bytes;
use coffer::request::{DeleteRangeRequest, PutRequest, RangeRequest, SortOrder, SortTarget};
use coffer::{Client, KeyRange};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

pub(crate) async fn get(client: &Client, options: GetOptions, output: &mut Output) -> Result<(), Failure> {
    let request = range_request(&options);
    if output.format == Format::Simple && streams(&request) {
        return get_pages(client, &options, request, output).await;
    }
    let response = client.range_request(request).await?;
    match output.format {
        Format::Json => output.json(&RangeJson::from(&response))?,
        Format::Table if options.count_only => output.table(["COUNT"], [[response.count.to_string()]])?,
        Format::Table => output.table_of_pairs(&response.kvs)?,
        Format::Simple if options.count_only => output.line(response.count)?,
        Format::Simple if options.print_value_only => {
            response.kvs.iter().try_for_each(|kv| output.bytes_line(&kv.value))?;
        }
        Format::Simple => output.simple_range(&response)?,
    }
    Ok(())
}

/// Whether the answer can be written page by page: in key order, and possibly long.
fn streams(request: &RangeRequest) -> bool {
    request.limit_stops_walk() && !request.count_only && !request.range.is_single()
}

async fn get_pages(
    client: &Client,
    options: &GetOptions,
    request: RangeRequest,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut range = client.range(request.range).limit(request.limit).revision(request.revision);
    if request.serializable {
        range = range.serializable();
    }
    if request.keys_only {
        range = range.keys_only();
    }
    let mut pages = range.pages();
    while let Some(kvs) = pages.next().await? {
        for kv in &kvs {
            match options.print_value_only {
                true => output.bytes_line(&kv.value)?,
                false => output.pair(kv)?,
            }
        }
    }
    Ok(())
}

pub(crate) async fn put(client: &Client, options: PutOptions, output: &mut Output) -> Result<(), Failure> {
    let value = match (&options.value, &options.file) {
        (Some(value), _) => value.clone().into_vec(),
        (None, Some(file)) => {
            fs::read(file).map_err(|error| Failure::file("read", file.display(), &error))?
        }
        (None, None) if options.ignore_value => Vec::new(),
        (None, None) => {
            let mut value = Vec::new();
            io::stdin()
                .lock()
                .read_to_end(&mut value)
                .map_err(|error| Failure::file("read", "the value", &error))?;
            value
        }
    };
    let response = client.put_request(put_request(options, value)).await.map_err(Failure::of_change)?;
    match output.format {
        Format::Json => output.json(&PutJson::from(&response))?,
        Format::Simple | Format::Table => output.simple_put(&response)?,
    }
    Ok(())
}

pub(crate) async fn del(client: &Client, options: DelOptions, output: &mut Output) -> Result<(), Failure> {
    let response = client.delete_range_request(delete_request(options)).await.map_err(Failure::of_change)?;
    match output.format {
        Format::Json => output.json(&DeleteJson::from(&response))?,
        Format::Simple | Format::Table => output.simple_delete(&response)?,
    }
    Ok(())
}

pub(crate) fn range_request(options: &GetOptions) -> RangeRequest {
    let range = key_range(options.key.clone(), options.extent.clone());
    let sort_order = match (options.order, options.sort_by) {
        (Some(order), _) => order.into(),
        (None, Some(_)) => SortOrder::Ascend,
        (None, None) => SortOrder::None,
    };
    RangeRequest {
        limit: options.limit,
        revision: options.rev,
        sort_order,
        sort_target: options.sort_by.map_or(SortTarget::Key, SortTarget::from),
        serializable: options.consistency == Consistency::Serializable,
        keys_only: options.keys_only,
        count_only: options.count_only,
        min_mod_revision: options.min_mod_rev,
        max_mod_revision: options.max_mod_rev,
        min_create_revision: options.min_create_rev,
        max_create_revision: options.max_create_rev,
        ..RangeRequest::new(range)
    }
}

pub(crate) fn put_request(options: PutOptions, value: Vec<u8>) -> PutRequest {
    PutRequest {
        key: options.key.into_vec().into(),
        value: value.into(),
        lease: options.lease,
        prev_kv: options.prev_kv,
        ignore_value: options.ignore_value,
        ignore_lease: options.ignore_lease,
    }
}

pub(crate) fn delete_request(options: DelOptions) -> DeleteRangeRequest {
    let range = key_range(options.key, options.extent);
    DeleteRangeRequest { range, prev_kv: options.prev_kv }
}

/// The range that the arguments of a command name. The empty key stands for the first one where a range is meant.
pub(crate) fn key_range(key: OsString, extent: Extent) -> KeyRange {
    let key = Bytes::from(key.into_vec());
    match extent {
        Extent { prefix: true, .. } | Extent { from_key: true, .. } if key.is_empty() => {
            KeyRange::from(Bytes::from_static(b"\0"))
        }
        Extent { prefix: true, .. } => KeyRange::prefix(key),
        Extent { from_key: true, .. } => KeyRange::from(key),
        Extent { range_end: Some(end), .. } => KeyRange::from_wire(key, end.into_vec().into()),
        Extent { range_end: None, .. } => KeyRange::single(key),
    }
}
