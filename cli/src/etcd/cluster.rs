//! The flags about a cluster, as far as there is one: this member alone.

use super::go::quoted;
use super::urls;
use std::collections::BTreeMap;

/// Why `--initial-cluster` can not be followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is wrong.
    Wrong(String),
    /// It names other members.
    Others(String),
}

/// Reads `--initial-cluster`, `name=url,name=url,…`: the peer URLs of the members by their names, sorted.
pub(crate) fn members(initial_cluster: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in initial_cluster.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let Some((member, url)) = item.split_once('=') else {
            return Err(format!("{} is no name=url", quoted(item)));
        };
        let mut read = urls::read_peers(url)?;
        if read.is_empty() {
            return Err(format!("{} has no URL", quoted(member)));
        }
        let urls = members.entry(member.to_owned()).or_default();
        urls.append(&mut read);
        urls.sort();
    }
    Ok(members)
}

/// Checks that `--initial-cluster` names this member and no other. Gives the peer URLs of this member. The errors are
/// etcd's where etcd has one.
pub(crate) fn own_peer_urls(initial_cluster: &str, name: &str) -> Result<Vec<String>, Unfit> {
    let members =
        members(initial_cluster).map_err(|error| Unfit::Wrong(format!("--initial-cluster: {error}")))?;
    let others: Vec<_> = members.keys().map(String::as_str).filter(|member| *member != name).collect();
    match members.get(name) {
        None => Err(Unfit::Wrong(format!(
            "couldn't find local name {} in the initial cluster configuration",
            quoted(name)
        ))),
        Some(_) if !others.is_empty() => Err(Unfit::Others(format!(
            "--initial-cluster names other members ({}): clusters of several members are not there yet, so that this \
             one can only run alone",
            others.join(", ")
        ))),
        Some(urls) => Ok(urls.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_alone_is_accepted_with_all_of_its_urls() {
        let urls = own_peer_urls("m=http://10.0.0.1:2380, m=http://10.0.0.2:2380", "m");
        assert_eq!(urls, Ok(vec!["http://10.0.0.1:2380".into(), "http://10.0.0.2:2380".into()]));
    }

    #[test]
    fn other_members_are_refused_by_name() {
        let error = own_peer_urls("a=http://a:1,b=http://b:1,c=http://c:1", "b");
        assert!(matches!(&error, Err(Unfit::Others(text)) if text.contains("(a, c)")), "{error:?}");
        for (cluster, reason) in [
            ("a=http://a:1", "couldn't find local name \"b\""),
            ("http://a:1", "is no name=url"),
            ("b=http://a", "does not have the form"),
        ] {
            let error = own_peer_urls(cluster, "b");
            assert!(matches!(&error, Err(Unfit::Wrong(text)) if text.contains(reason)), "{error:?}");
        }
    }
}
