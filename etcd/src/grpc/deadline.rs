//! The deadline that a client sets with `grpc-timeout`: no work is done for it after that.

use bytes::Bytes;
use coffer_runtime::{Sleep, sleep_until, timeout_at};
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::body::Body;

/// Reads the deadline; `None` if none is set, or one so far away that no clock will see it.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    read(headers, |text| Status::internal(format!("malformed grpc-timeout: {text}")))
}

/// The same, for who says in other words that it cannot be read.
pub(crate) fn read(
    headers: &HeaderMap,
    malformed: impl FnOnce(&str) -> Status,
) -> Result<Option<Instant>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    match value.to_str().ok().and_then(parse) {
        Some(timeout) => Ok(Instant::now().checked_add(timeout)),
        None => Err(malformed(&value.as_bytes().escape_ascii().to_string())),
    }
}

/// At most eight digits and a unit.
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Runs a call until `deadline`, the stream of its answers included.
pub(super) async fn bound(
    deadline: Option<Instant>,
    call: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    let Some(deadline) = deadline else { return call.await };
    match timeout_at(deadline, call).await {
        Ok(response) => response.map(|body| {
            let expiry = sleep_until(deadline);
            Body::new(Bounded { body: Some(body), deadline, expiry })
        }),
        Err(_) => expired().into_http(),
    }
}

fn expired() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}

/// A body that ends at a deadline.
struct Bounded {
    /// None once it has ended.
    body: Option<Body>,
    deadline: Instant,
    expiry: Sleep,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            // A stream that always has something to say ends in time too.
            let says_more = matches!(&frame, Some(Ok(frame)) if frame.is_data());
            if !says_more || Instant::now() < this.deadline {
                return Poll::Ready(frame);
            }
        } else {
            ready!(Pin::new(&mut this.expiry).poll(context));
        }
        this.body = None;
        let mut trailers = HeaderMap::new();
        expired().add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tonic::Code;

    /// Never says anything, or always the same.
    struct Endless {
        talks: bool,
    }

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.talks {
                true => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
                false => Poll::Pending,
            }
        }
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(20))
    }

    #[test]
    fn a_call_ends_at_its_deadline() {
        let response = coffer_runtime::block_on(bound(soon(), std::future::pending()));
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "context deadline exceeded"));
    }

    #[test]
    fn a_stream_ends_at_its_deadline_whether_it_talks_or_not() {
        for talks in [false, true] {
            let trailers = coffer_runtime::block_on(async {
                let call = async { Response::new(Body::new(Endless { talks })) };
                let body = bound(soon(), call).await.into_body();
                body.collect().await.unwrap().trailers().cloned().unwrap()
            });
            let status = Status::from_header_map(&trailers).unwrap();
            assert_eq!(status.code(), Code::DeadlineExceeded);
        }
    }

    #[test]
    fn timeouts_have_up_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("123456789S", None),
            ("-1S", None),
            ("+1S", None),
            ("1 S", None),
            ("1s", None),
            ("1é", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
