//! The environment: `ETCD_NAME` for `--name`, and so on.

use super::flags;
use super::given::{Given, Note, Source};
use super::go::quoted;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Our part of the environment: the variables that begin with `ETCD_`.
#[derive(Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with("ETCD_").then_some((name, value))
        });
        Self(ours.collect())
    }

    /// The configuration file that it names.
    pub(crate) fn config_file(&self) -> Option<String> {
        let value = self.0.get("ETCD_CONFIG_FILE")?.to_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Sets each flag that has a variable and is not on the command line. An empty variable is none.
    pub(crate) fn apply(mut self, given: &mut Given) -> Result<(), String> {
        // It would mean the flag that shows the version.
        if self.0.remove("ETCD_VERSION").is_some_and(|value| !value.is_empty()) {
            given.notes.push(Note::VersionVariable);
        }
        let on_the_command_line: Vec<_> = given.named();
        for flag in flags::all() {
            let variable = flag.variable();
            let Some(value) = self.0.remove(&variable).filter(|value| !value.is_empty()) else { continue };
            if on_the_command_line.contains(&flag.name) {
                given.notes.push(Note::ShadowedVariable(variable));
                continue;
            }
            let value = value.into_string().map_err(|_| format!("the value of {variable} is not UTF-8"))?;
            given
                .set(flag, &value, Source::Environment)
                .map_err(|error| format!("invalid value {} for {variable}: {error}", quoted(&value)))?;
            given.notes.push(Note::UsedVariable(variable));
        }
        given.notes.extend(self.0.into_keys().map(Note::UnknownVariable));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn variables_set_what_the_command_line_does_not() {
        let mut given = Given::default();
        given.set(flags::find("name").expect("known"), "flag", Source::CommandLine).expect("a value");
        let variables = [
            ("ETCD_NAME", "variable"),
            ("ETCD_DATA_DIR", "/x"),
            ("ETCD_MAX_TXN_OPS", ""),
            ("ETCD_NMAE", "typo"),
            ("ETCD_VERSION", "true"),
            ("ETCDCTL_API", "3"),
        ];
        environment(&variables).apply(&mut given).expect("good values");
        assert_eq!((given.text("name"), given.text("data-dir")), ("flag".into(), "/x".into()));
        assert!(!given.is_set("max-txn-ops") && !given.is_set("version"));
        assert_eq!(
            given.notes,
            [
                Note::VersionVariable,
                Note::ShadowedVariable("ETCD_NAME".into()),
                Note::UsedVariable("ETCD_DATA_DIR".into()),
                Note::UnknownVariable("ETCD_NMAE".into()),
            ]
        );
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        let error = environment(&[("ETCD_MAX_TXN_OPS", "abc")]).apply(&mut Given::default());
        assert_eq!(error, Err("invalid value \"abc\" for ETCD_MAX_TXN_OPS: parse error".into()));
    }

    #[test]
    fn it_may_name_the_configuration_file() {
        assert_eq!(environment(&[("ETCD_CONFIG_FILE", "/e.yml")]).config_file(), Some("/e.yml".into()));
        assert_eq!(environment(&[("ETCD_CONFIG_FILE", "")]).config_file(), None);
    }
}
