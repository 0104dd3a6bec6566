//! `--feature-gates`: names are checked as etcd checks them; what they switch has no counterpart here.

use super::go;

/// The gates of etcd 3.6 and 3.7, and whether they are open by default.
pub(crate) const GATES: [(&str, bool); 9] = [
    ("CompactHashCheck", false),
    ("FastLeaseKeepAlive", true),
    ("InitialCorruptCheck", false),
    ("LeaseCheckpoint", false),
    ("LeaseCheckpointPersist", false),
    ("PriorityRequest", false),
    ("SetMemberLocalAddr", false),
    ("StopGRPCServiceOnDefrag", false),
    ("TxnModeWriteWithSharedBuffer", true),
];

/// Checks `Name=true,Name=false,…`.
pub(crate) fn read(text: &str) -> Result<(), String> {
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let name = name.trim();
        if !item.contains('=') {
            return Err(format!("missing bool value for {name}"));
        }
        if go::boolean(value.trim()).is_err() {
            return Err(format!("invalid value of {name}={}, err: parse error", value.trim()));
        }
        let is_known =
            GATES.iter().any(|(known, _)| *known == name) || ["AllAlpha", "AllBeta"].contains(&name);
        if !is_known {
            return Err(format!("unrecognized feature gate: {name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_gates_are_accepted() {
        for text in
            ["", "AllAlpha=true", "PriorityRequest=true,FastLeaseKeepAlive=0", " LeaseCheckpoint = true ,"]
        {
            assert_eq!(read(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn others_are_refused_as_etcd_does() {
        for (text, error) in [
            ("Turbo=true", "unrecognized feature gate: Turbo"),
            ("PriorityRequest", "missing bool value for PriorityRequest"),
            ("PriorityRequest=yes", "invalid value of PriorityRequest=yes, err: parse error"),
        ] {
            assert_eq!(read(text), Err(error.into()));
        }
    }
}
