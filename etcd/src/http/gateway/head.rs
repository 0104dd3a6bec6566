//! From the headers of HTTP to the metadata of a call.

use ::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers with this prefix are passed on without it.
const PREFIX: &str = "grpc-metadata-";

/// Passes on what a call may see: everything with the prefix, and the token.
pub(super) fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    to.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    to.insert(header::TE, HeaderValue::from_static("trailers"));
    for (name, value) in from {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        let reserved = name.starts_with("grpc-") || name == "content-type" || name == "te";
        if let (false, Ok(name)) = (reserved, HeaderName::try_from(name)) {
            to.append(name, value.clone());
        }
    }
    // The token may come as etcd's own metadata has it, or as everyone else sends one.
    let Some(authorization) = from.get(header::AUTHORIZATION) else { return };
    to.insert(header::AUTHORIZATION, authorization.clone());
    let bytes = authorization.as_bytes();
    let token = HeaderValue::from_bytes(bytes.strip_prefix(b"Bearer ").unwrap_or(bytes));
    if let (false, Ok(token)) = (to.contains_key("token"), token) {
        to.insert("token", token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut to = HeaderMap::new();
        pass_on(&pairs.collect(), &mut to);
        to
    }

    #[test]
    fn only_what_a_call_may_see_is_passed_on() {
        let to = passed(&[
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-content-type", "text/plain"),
            ("grpc-metadata-grpc-status", "0"),
            ("x-forwarded-for", "1.2.3.4"),
        ]);
        assert_eq!(to["hasleader"], "true");
        assert_eq!(to["content-type"], "application/grpc");
        assert_eq!(to.len(), 3, "{to:?}");
    }

    #[test]
    fn a_token_comes_in_three_ways() {
        assert_eq!(passed(&[("authorization", "abc")])["token"], "abc");
        assert_eq!(passed(&[("authorization", "Bearer abc")])["token"], "abc");
        let both = passed(&[("authorization", "abc"), ("grpc-metadata-token", "def")]);
        assert_eq!(
            (&both["token"], &both["authorization"]),
            (&"def".parse().unwrap(), &"abc".parse().unwrap())
        );
    }
}
