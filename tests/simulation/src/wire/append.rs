//! A lane of entries: several requests on their way, in order, and their answers in order.
//!
//! Requests are taken only while somebody waits for answers: raft begins a new stream over the same entries after an error,
//! and the old one must not take any.

use super::{REFUSAL, Way, broken, lost};
use async_channel::{Receiver, Sender};
use coffer_core::Error;
use coffer_core::consensus::messages::{AppendRequest, AppendResponse};
use coffer_core::consensus::peers::PeerError;
use coffer_runtime::timeout_at;
use futures_util::future::{Either, select};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant};

/// The sender's end of a lane.
struct End {
    /// None when there are no more.
    requests: Option<BoxStream<'static, AppendRequest>>,
    out: Sender<(Instant, AppendRequest)>,
    back: Receiver<Result<AppendResponse, Error>>,
    /// When each request was sent that has no answer yet.
    unanswered: VecDeque<Instant>,
    patience: Duration,
}

/// Sends requests as they come.
pub(super) fn append(
    way: &Way,
    mut requests: BoxStream<'static, AppendRequest>,
    patience: Duration,
) -> BoxStream<'static, Result<AppendResponse, PeerError>> {
    let target = match way.wire.reach(way.from, way.to) {
        Ok(target) => target,
        Err(error) => {
            // Found out with the first request: until then the sender rests.
            let refused = async move {
                requests.next().await?;
                coffer_runtime::sleep(REFUSAL).await;
                Some(Err(error))
            };
            return stream::once(refused).filter_map(std::future::ready).boxed();
        }
    };
    let (out, on_wire) = async_channel::unbounded();
    let (arrives, arrived) = async_channel::unbounded();
    let (answers, on_way_back) = async_channel::unbounded();
    let (comes_back, back) = async_channel::unbounded();
    way.wire.carriers.spawn(carry(way.clone(), false, on_wire, arrives));
    target.spawn(move |node| async move {
        let requests = stream::unfold(arrived, async |arrived| {
            let request = arrived.recv().await.ok()?;
            Some((request, arrived))
        });
        let mut appended = node.consensus().append(requests);
        while let Some(answer) = appended.next().await {
            if answers.send((Instant::now(), answer)).await.is_err() {
                return;
            }
        }
    });
    let way_back = way.clone();
    way.wire.carriers.spawn(async move {
        // Its end breaks the connection.
        select(pin!(carry(way_back, true, on_way_back, comes_back)), pin!(target.over())).map(drop).await;
    });
    let end = End { requests: Some(requests), out, back, unanswered: VecDeque::new(), patience };
    let answers = stream::unfold(Some(end), async |end| {
        let mut end = end?;
        let answer = end.next().await?;
        let goes_on = matches!(answer, Ok(AppendResponse::Matched(_)));
        Some((answer, goes_on.then_some(end)))
    });
    answers.boxed()
}

impl End {
    /// The next answer; nothing where there is none to come.
    async fn next(&mut self) -> Option<Result<AppendResponse, PeerError>> {
        loop {
            // Where nothing is under way, something may be soon.
            let until = self.unanswered.front().map_or_else(Instant::now, |sent| *sent) + self.patience;
            let answer = timeout_at(until, self.back.recv());
            let heard = match &mut self.requests {
                None => answer.await,
                Some(requests) => match select(requests.next(), pin!(answer)).await {
                    Either::Right((heard, _)) => heard,
                    Either::Left((Some(request), _)) => {
                        self.unanswered.push_back(Instant::now());
                        // A connection that broke is noticed below.
                        let _ = self.out.try_send((Instant::now(), request));
                        continue;
                    }
                    Either::Left((None, _)) => {
                        self.requests = None;
                        self.out.close();
                        continue;
                    }
                },
            };
            match heard {
                Ok(Ok(answer)) => {
                    self.unanswered.pop_front();
                    return Some(answer.map_err(broken));
                }
                Ok(Err(_)) if self.requests.is_none() && self.unanswered.is_empty() => return None,
                Ok(Err(_)) => return Some(Err(PeerError::NoAnswer("the connection broke".to_owned()))),
                Err(_) if self.unanswered.is_empty() => {}
                Err(_) => return Some(Err(lost())),
            }
        }
    }
}

/// Carries messages in their order. The first that is lost ends it: whoever waits is told nothing, and loses patience.
async fn carry<T>(way: Way, back: bool, from: Receiver<(Instant, T)>, to: Sender<T>) {
    let mut not_before = Instant::now();
    while let Ok((sent, message)) = from.recv().await {
        let (delay, arrives) = way.wire.draw();
        not_before = not_before.max(sent + delay);
        coffer_runtime::sleep_until(not_before).await;
        let (sender, receiver) = if back { (way.to, way.from) } else { (way.from, way.to) };
        if !arrives || !way.wire.is_open(sender, receiver) {
            coffer_runtime::sleep(Duration::from_secs(30)).await;
            return;
        }
        if to.send(message).await.is_err() {
            return;
        }
    }
}
