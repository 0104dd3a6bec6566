//! `txn`: reads compares, success requests and failure requests, and runs them atomically.

use super::txn_grammar::{parse_compare, parse_request};
use crate::args::kv::TxnOptions;
use crate::failure::Failure;
use crate::output::json::TxnJson;
use crate::output::{Format, Output};
use coffer::Client;
use coffer::request::TxnRequest;
use std::io::{self, BufRead};

pub(crate) async fn run(client: &Client, options: TxnOptions, output: &mut Output) -> Result<(), Failure> {
    let mut prompt = |text: &str| {
        if !options.interactive {
            return Ok(());
        }
        output.line(text)?;
        output.flush()
    };
    let mut input = io::stdin().lock();
    prompt("compares:")?;
    let compare = section(&mut input, "compares", parse_compare)?;
    prompt("success requests (get, put, del):")?;
    let success = section(&mut input, "success requests", parse_request)?;
    prompt("failure requests (get, put, del):")?;
    let failure = section(&mut input, "failure requests", parse_request)?;
    drop(input);

    let request = TxnRequest { compare, success, failure };
    let response = client.txn_request(request).await.map_err(Failure::of_change)?;
    match output.format {
        Format::Json => output.json(&TxnJson::from(&response))?,
        Format::Simple | Format::Table => output.simple_txn(&response)?,
    }
    Ok(())
}

/// Reads lines up to an empty one. An input that ends before is refused: what was cut off might have been meant.
fn section<T>(
    input: &mut impl BufRead,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = input
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::file("read", "the transaction", &error))?;
        if length == 0 {
            let hint = "each of compares, success requests and failure requests ends with an empty line";
            return Err(Failure::usage(format_args!("the input ended within the {name}; {hint}")));
        }
        let text = std::str::from_utf8(&line)
            .map_err(|_| Failure::usage("a line is not UTF-8; write other bytes as \"\\xNN\""))?
            .trim();
        if text.is_empty() {
            return Ok(items);
        }
        items.push(parse(text).map_err(Failure::usage)?);
    }
}
