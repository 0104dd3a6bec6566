//! The flags about a cluster.

use super::go::quoted;
use super::urls;
use std::collections::BTreeMap;

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

/// The peer URLs of the member `name`. The error is etcd's.
pub(crate) fn own_peer_urls(
    members: &BTreeMap<String, Vec<String>>,
    name: &str,
) -> Result<Vec<String>, String> {
    let missing =
        || format!("couldn't find local name {} in the initial cluster configuration", quoted(name));
    members.get(name).cloned().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_with_all_of_its_urls() {
        let read = members("m=http://10.0.0.1:2380, m=http://10.0.0.2:2380,n=coffer://n:1").expect("members");
        let urls = ["http://10.0.0.1:2380", "http://10.0.0.2:2380"].map(String::from);
        assert_eq!(own_peer_urls(&read, "m"), Ok(urls.to_vec()));
        let missing = own_peer_urls(&read, "b").expect_err("nobody");
        assert!(missing.contains("couldn't find local name \"b\""), "{missing}");
    }

    #[test]
    fn what_names_no_members_is_refused() {
        for (cluster, reason) in
            [("http://a:1", "is no name=url"), ("b=http://a", "does not have the form"), ("b=", "has no URL")]
        {
            let error = members(cluster).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
