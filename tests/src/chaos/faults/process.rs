//! What happens to processes.

use super::Strike;
use crate::chaos::member::End;
use rustix::process::Signal;
use std::time::Duration;

/// How long a daemon may take to end when it is told to.
const END: Duration = Duration::from_secs(60);

pub(super) async fn kill(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    victim.kill().await;
    strike.last().await;
    strike.cluster.run(&victim).await?;
    Ok(victim.name.clone())
}

/// All at once: what was acknowledged is on their disks.
pub(super) async fn kill_all(strike: &mut Strike) -> Result<String, String> {
    let members = strike.cluster.members();
    members.iter().for_each(|member| member.signal(Signal::KILL));
    for member in &members {
        member.kill().await;
    }
    coffer_runtime::sleep(strike.hold / 4).await;
    for started in
        futures_util::future::join_all(members.iter().map(|member| strike.cluster.run(member))).await
    {
        started?;
    }
    Ok("all".into())
}

/// Each in turn, as an operator does it.
pub(super) async fn restart(strike: &mut Strike) -> Result<String, String> {
    for member in strike.cluster.members() {
        member.signal(Signal::TERM);
        // Another fault may have stopped it.
        member.signal(Signal::CONT);
        if member.is_running() && member.ended(END).await == End::GoesOn {
            let words = member.last_words();
            return Err(format!("{} does not end within {END:?} of SIGTERM:\n{words}", member.name));
        }
        strike.cluster.run(&member).await?;
        coffer_runtime::sleep(strike.hold / 8).await;
    }
    Ok("each in turn".into())
}

pub(super) async fn pause(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    victim.signal(Signal::STOP);
    strike.last().await;
    victim.signal(Signal::CONT);
    Ok(victim.name.clone())
}
