//! The flags that say whose store a restored one is: those of `etcdutl snapshot restore`, checked as there.

use crate::etcd::{cluster, go::quoted, urls};
use crate::failure::Failure;
use clap::Args;
use coffer::{MemberInfo, NewCluster};
use std::collections::BTreeMap;

const NAME: &str = "default";
const TOKEN: &str = "etcd-cluster";

/// Whose store a new one is.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "New cluster")]
pub(crate) struct NewClusterFlags {
    /// Name of the member whose store it is [default: default]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// All members of the new cluster, a URL each; whoever has more is named again [default: this one alone]
    #[arg(long, value_name = "NAME=URL,…")]
    initial_cluster: Option<String>,
    /// What tells this cluster from another one at the same URLs [default: etcd-cluster]
    #[arg(long, value_name = "TOKEN", requires = "initial_cluster")]
    initial_cluster_token: Option<String>,
    /// Where other members reach this one, separated by commas [default: what --initial-cluster says]
    #[arg(long, value_name = "URL,…")]
    initial_advertise_peer_urls: Option<String>,
}

/// What the flags say, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The only member of a new cluster, of which nothing is known.
    Nobody,
    /// The only member of a new cluster.
    Alone(MemberInfo),
    /// One of these members, their URLs by their names.
    Together { token: String, members: BTreeMap<String, Vec<String>>, name: String },
}

/// What the stores of a cluster are made from that is founded new: from nothing.
pub(crate) const NOTHING: &str = "";

impl NewClusterFlags {
    /// What a daemon's settings say of it.
    pub(crate) fn of(
        name: &str,
        initial_cluster: Option<String>,
        initial_cluster_token: Option<String>,
        initial_advertise_peer_urls: Option<String>,
    ) -> Self {
        let name = Some(name.to_owned());
        Self { name, initial_cluster, initial_cluster_token, initial_advertise_peer_urls }
    }

    /// Checks what was given. The errors are etcd's where etcd has one.
    pub(crate) fn resolve(self) -> Result<Wanted, Failure> {
        let Self { name, initial_cluster, initial_cluster_token, initial_advertise_peer_urls } = self;
        let own = initial_advertise_peer_urls.as_deref().map(urls::read_peers).transpose();
        let own =
            own.map_err(|error| Failure::usage(format_args!("--initial-advertise-peer-urls: {error}")))?;
        let Some(initial_cluster) = initial_cluster else {
            return Ok(match (name, own) {
                (None, None) => Wanted::Nobody,
                (name, own) => Wanted::Alone(MemberInfo {
                    name: name.unwrap_or_else(|| NAME.into()),
                    peer_urls: own.unwrap_or_default(),
                    ..MemberInfo::default()
                }),
            });
        };
        let name = name.unwrap_or_else(|| NAME.into());
        let members = cluster::members(&initial_cluster)
            .map_err(|error| Failure::usage(format_args!("--initial-cluster: {error}")))?;
        check(&initial_cluster, &members, &name, own.as_deref()).map_err(Failure::usage)?;
        Ok(Wanted::Together { token: initial_cluster_token.unwrap_or_else(|| TOKEN.into()), members, name })
    }
}

/// Checks that `--initial-cluster` and `--initial-advertise-peer-urls` say the same of `name`. The errors are etcd's.
pub(crate) fn check(
    given: &str,
    members: &BTreeMap<String, Vec<String>>,
    name: &str,
    own: Option<&[String]>,
) -> Result<(), String> {
    let mut all: Vec<&String> = members.values().flatten().collect();
    all.sort();
    if all.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("initial cluster {given} has duplicated url"));
    }
    let Some(named) = members.get(name) else {
        return Err(format!(
            "couldn't find local name {} in the initial cluster configuration",
            quoted(name)
        ));
    };
    let Some(own) = own else { return Ok(()) };
    let missing = |of: &[String], from: &[String]| -> Option<String> {
        let missing: Vec<_> = of.iter().filter(|url| !from.contains(url)).cloned().collect();
        (!missing.is_empty()).then(|| missing.join(","))
    };
    if let Some(missing) = missing(named, own) {
        return Err(format!(
            "--initial-cluster has {name}={missing} but missing from --initial-advertise-peer-urls={}",
            own.join(",")
        ));
    }
    match missing(own, named) {
        Some(missing) => Err(format!(
            "--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={given}"
        )),
        None => Ok(()),
    }
}

impl Wanted {
    /// The cluster, if something was said of it, of stores that are made from what `origin` tells from all else.
    pub(crate) fn cluster(self, origin: &str) -> Result<Option<NewCluster>, Failure> {
        Ok(match self {
            Self::Nobody => None,
            Self::Alone(info) => Some(NewCluster::alone(info)?),
            Self::Together { token, members, name } => {
                Some(NewCluster::together(&token, &members, &name, origin.as_bytes())?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str, cluster: &str, own: &str) -> Result<Wanted, String> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let flags = NewClusterFlags {
            name: given(name),
            initial_cluster: given(cluster),
            initial_cluster_token: None,
            initial_advertise_peer_urls: given(own),
        };
        flags.resolve().map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let urls = |urls: &[&str]| urls.iter().map(|url| String::from(*url)).collect::<Vec<_>>();
        let alone = |name: &str, peers| {
            Ok(Wanted::Alone(MemberInfo {
                name: name.into(),
                peer_urls: urls(peers),
                ..MemberInfo::default()
            }))
        };
        assert_eq!(resolve("", "", ""), Ok(Wanted::Nobody));
        assert_eq!(resolve("m", "", ""), alone("m", &[]));
        assert_eq!(
            resolve("", "", "http://b:1,coffer://a:2"),
            alone("default", &["coffer://a:2", "http://b:1"])
        );
        let members = |members: &[(&str, &[&str])]| {
            members.iter().map(|(name, own)| (String::from(*name), urls(own))).collect()
        };
        let cluster = "b=http://b:1,a=http://a:2,a=coffers://a:1";
        let expected = Wanted::Together {
            token: TOKEN.into(),
            members: members(&[("a", &["coffers://a:1", "http://a:2"]), ("b", &["http://b:1"])]),
            name: "a".into(),
        };
        assert_eq!(resolve("a", cluster, "http://a:2,coffers://a:1").as_ref(), Ok(&expected));
        assert_eq!(resolve("a", cluster, ""), Ok(expected));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_in_the_words_of_etcd() {
        let two = "a=http://a:1,b=http://b:1";
        for (name, cluster, own, reason) in [
            ("c", two, "", "couldn't find local name \"c\" in the initial cluster configuration"),
            ("", two, "", "couldn't find local name \"default\""),
            (
                "a",
                two,
                "http://x:1",
                "--initial-cluster has a=http://a:1 but missing from --initial-advertise-peer-urls=http://x:1",
            ),
            (
                "a",
                two,
                "http://a:1,http://x:1",
                "http://x:1 but missing from --initial-cluster=a=http://a:1,b=",
            ),
            ("a", "a=http://a:1,b=http://a:1", "", "has duplicated url"),
            ("a", "http://a:1", "", "--initial-cluster: \"http://a:1\" is no name=url"),
            ("a", "a=ftp://a:1", "", "URL scheme must be"),
            ("a", "", "http://a", "does not have the form"),
            ("a", "a=", "", "has no URL"),
        ] {
            let refused = resolve(name, cluster, own);
            assert!(matches!(&refused, Err(found) if found.contains(reason)), "{refused:?}");
        }
    }
}
