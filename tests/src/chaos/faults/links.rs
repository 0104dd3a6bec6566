//! What happens to connections.

use super::Strike;
use crate::chaos::network::{End, Rule};
use rand::RngExt;
use rand::seq::SliceRandom;
use std::time::Duration;

impl Strike {
    fn numbers(&self) -> Vec<usize> {
        self.cluster.members().iter().map(|member| member.number).collect()
    }

    fn shuffled(&mut self) -> Vec<usize> {
        let mut numbers = self.numbers();
        numbers.shuffle(&mut self.random);
        numbers
    }

    /// Holds up everything from one to the other.
    fn cut(&self, from: usize, to: usize) {
        self.rule(from, to, |rule| rule.cut = true);
    }

    fn cut_both(&self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    fn rule(&self, from: usize, to: usize, change: impl FnOnce(&mut Rule)) {
        self.cluster.network.change(End::Member(from), End::Member(to), change);
    }

    /// Lasts, and takes back what `lift` says of all links. Connections live on, or break, as a network does it too.
    async fn last_and_lift(&mut self, lift: impl Fn(&mut Rule)) {
        self.last().await;
        self.cluster.network.change_between_members(lift);
        if self.random.random_bool(0.3) {
            self.cluster.network.reset();
        }
    }
}

fn heal(rule: &mut Rule) {
    rule.cut = false;
}

/// A few on one side, the others on the other.
pub(super) async fn majority(strike: &mut Strike) -> Result<String, String> {
    let members = strike.shuffled();
    let (few, many) = members.split_at((members.len() - 1) / 2);
    for one in few {
        many.iter().for_each(|other| strike.cut_both(*one, *other));
    }
    let text = format!("{few:?} from {many:?}");
    strike.last_and_lift(heal).await;
    Ok(text)
}

pub(super) async fn leader_alone(strike: &mut Strike) -> Result<String, String> {
    let leader = strike.cluster.wait_leader().await?;
    for other in strike.numbers().into_iter().filter(|other| *other != leader.number) {
        strike.cut_both(leader.number, other);
    }
    strike.last_and_lift(heal).await;
    Ok(leader.name.clone())
}

/// One that is heard and does not hear, or hears and is not heard.
pub(super) async fn one_way(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    let is_deaf = strike.random.random_bool(0.5);
    for other in strike.numbers().into_iter().filter(|other| *other != victim.number) {
        match is_deaf {
            true => strike.cut(other, victim.number),
            false => strike.cut(victim.number, other),
        }
    }
    strike.last_and_lift(heal).await;
    Ok(format!("{} {}", victim.name, if is_deaf { "hears nothing" } else { "is not heard" }))
}

/// Two groups that have only one member in common.
pub(super) async fn bridge(strike: &mut Strike) -> Result<String, String> {
    let members = strike.shuffled();
    let Some((bridge, others)) = members.split_first() else { return Err("there is no member".into()) };
    let (left, right) = others.split_at(others.len() / 2);
    for one in left {
        right.iter().for_each(|other| strike.cut_both(*one, *other));
    }
    let text = format!("{left:?} and {right:?} over {bridge}");
    strike.last_and_lift(heal).await;
    Ok(text)
}

/// All links between members are slow.
pub(super) async fn delay(strike: &mut Strike) -> Result<String, String> {
    let delay = Duration::from_millis(strike.random.random_range(10..80));
    everywhere(strike, |rule| rule.delay = delay);
    strike.last_and_lift(|rule| rule.delay = Duration::ZERO).await;
    Ok(format!("{delay:?}"))
}

/// All links between members stall and break now and then.
pub(super) async fn loss(strike: &mut Strike) -> Result<String, String> {
    let loss = strike.random.random_range(0.01..0.1);
    everywhere(strike, |rule| rule.loss = loss);
    strike.last_and_lift(|rule| rule.loss = 0.0).await;
    Ok(format!("{:.0} %", loss * 100.0))
}

fn everywhere(strike: &Strike, change: impl Fn(&mut Rule)) {
    let members = strike.numbers();
    for from in &members {
        for to in members.iter().filter(|to| *to != from) {
            strike.rule(*from, *to, &change);
        }
    }
}

/// Clients of a member do not hear from it, or it does not hear from them.
pub(super) async fn client_cut(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    let member = End::Member(victim.number);
    let is_deaf = strike.random.random_bool(0.5);
    let (from, to) = if is_deaf { (End::Client, member) } else { (member, End::Client) };
    strike.cluster.network.change(from, to, |rule| rule.cut = true);
    strike.last().await;
    strike.cluster.network.change(from, to, |rule| rule.cut = false);
    Ok(format!("{} {}", victim.name, if is_deaf { "hears no client" } else { "is heard by no client" }))
}
