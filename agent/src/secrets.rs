//! From an item's variables to a container's environment. Values come sealed from the node's disk
//! through `link`; opened ones live only until the container is made.

use std::{collections::BTreeMap, sync::Arc};

use domain::name::VariableName;
use link::follow::State;
use protocol::{
    feed::SecretRef,
    item::{NodeItem, Value},
};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// A secret that an item refers to is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the value of variable {variable} (version {version}) has not reached this node; it follows with the next feed"
)]
pub struct MissingSecret {
    variable: VariableName,
    version: i64,
}

/// Opens sealed values.
pub trait Secrets: Send + Sync + 'static {
    /// The value, or `None` when this node doesn't hold it.
    fn open(&self, secret: &SecretRef) -> Option<Zeroizing<String>>;
}

/// The values that came with the node's feed.
#[derive(Debug, Clone)]
pub struct FeedSecrets(pub watch::Receiver<Arc<State<NodeItem>>>);

impl Secrets for FeedSecrets {
    fn open(&self, secret: &SecretRef) -> Option<Zeroizing<String>> {
        let state = self.0.borrow();
        let value = state.secrets.get(secret)?;
        Some(Zeroizing::new(value.to_owned()))
    }
}

/// The environment of a container.
///
/// # Errors
/// [`MissingSecret`] for the first value that isn't here.
pub fn environment(
    variables: &BTreeMap<VariableName, Value>,
    secrets: &dyn Secrets,
) -> Result<BTreeMap<VariableName, Zeroizing<String>>, MissingSecret> {
    variables
        .iter()
        .map(|(name, value)| {
            let opened = match value {
                Value::Literal(text) => Zeroizing::new(text.clone()),
                Value::Secret(reference) => {
                    secrets.open(reference).ok_or_else(|| MissingSecret {
                        variable: name.clone(),
                        version: reference.version,
                    })?
                }
            };
            Ok((name.clone(), opened))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Secrets for One {
        fn open(&self, secret: &SecretRef) -> Option<Zeroizing<String>> {
            (secret.key == "variable/a").then(|| Zeroizing::new("opened".to_owned()))
        }
    }

    fn secret(key: &str) -> Value {
        Value::Secret(SecretRef {
            key: key.to_owned(),
            version: 3,
        })
    }

    #[test]
    fn opens_secrets_and_names_the_variable_whose_value_is_missing() {
        let mut variables: BTreeMap<VariableName, Value> = [
            ("A".parse().unwrap(), secret("variable/a")),
            ("PORT".parse().unwrap(), Value::Literal("8080".into())),
        ]
        .into();
        let opened = environment(&variables, &One).unwrap();
        assert_eq!(opened[&"A".parse().unwrap()].as_str(), "opened");
        variables.insert("B".parse().unwrap(), secret("variable/b"));
        let error = environment(&variables, &One).unwrap_err().to_string();
        assert!(error.contains("variable B (version 3)"), "{error}");
    }
}
