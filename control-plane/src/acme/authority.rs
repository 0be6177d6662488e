//! One authority, and the steps of an order there. Each step may be repeated: what it leads to is looked up first.

use std::{future::Future, time::Duration};

use chrono::{DateTime, Utc};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder,
    OrderStatus,
};

use super::{
    Error,
    chain::Chain,
    order::{Challenge, Code, Placed, Problem},
    problem::of_validation,
    transport::Patience,
};
use crate::config;

/// A request is repeated so often when the authority has forgotten the nonce that it gave.
const NONCES: usize = 10;

/// How a hostname is proven. Edges answer both at once; an authority asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// At port 80.
    Http01,
    /// At port 443.
    TlsAlpn01,
}

impl Kind {
    /// The other one after a failure: a firewall may let only one of the ports through.
    #[must_use]
    pub fn after(failures: u32) -> Self {
        if failures.is_multiple_of(2) {
            Self::Http01
        } else {
            Self::TlsAlpn01
        }
    }

    const fn order(self) -> [ChallengeType; 2] {
        match self {
            Self::Http01 => [ChallengeType::Http01, ChallengeType::TlsAlpn01],
            Self::TlsAlpn01 => [ChallengeType::TlsAlpn01, ChallengeType::Http01],
        }
    }
}

/// How far the authority is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validation {
    /// It still asks.
    Pending,
    /// It is satisfied: a request for the certificate can follow.
    Ready,
    /// The certificate is being made, or has been.
    Requested,
    /// It found another answer than ours.
    Failed(Problem),
}

/// An authority, by the platform's account there.
pub struct Authority {
    pub(super) config: config::Authority,
    pub(super) account: Account,
    pub(super) patience: Patience,
    /// As sealed in the database: which account it is.
    pub(super) credentials: Vec<u8>,
}

impl Authority {
    /// As configured.
    #[must_use]
    pub const fn config(&self) -> &config::Authority {
        &self.config
    }

    /// How long it asked to be left alone since this was last asked.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.patience.take()
    }

    fn failed(&self) -> impl Fn(instant_acme::Error) -> Error {
        move |source| Error::Authority {
            authority: self.config.name.clone(),
            source,
        }
    }

    /// Orders a certificate for a hostname, in the place of `renews` (PEM) if it is one of this authority's.
    ///
    /// # Errors
    /// When it refuses, or can't be reached.
    pub async fn place(
        &self,
        hostname: &str,
        kind: Kind,
        renews: Option<&str>,
    ) -> Result<Placed, Error> {
        match again(|| self.place_once(hostname, kind, renews)).await {
            Err(error) if renews.is_some() && error.is_already_replaced() => {
                again(|| self.place_once(hostname, kind, None)).await
            }
            placed => placed,
        }
    }

    async fn place_once(
        &self,
        hostname: &str,
        kind: Kind,
        renews: Option<&str>,
    ) -> Result<Placed, Error> {
        let identifiers = [Identifier::Dns(hostname.to_owned())];
        let wanted = self.new_order(&identifiers);
        let replaced = renews.and_then(|chain| Chain::leaf(chain).ok());
        let replaced = replaced
            .as_ref()
            .and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
        let ordered = match replaced {
            Some(replaced) => {
                let renewal = self.new_order(&identifiers).replaces(replaced);
                match self.account.new_order(&renewal).await {
                    // It knows no renewals: any order will do.
                    Err(instant_acme::Error::Unsupported(_)) => {
                        self.account.new_order(&wanted).await
                    }
                    ordered => ordered,
                }
            }
            None => self.account.new_order(&wanted).await,
        };
        let mut order = ordered.map_err(self.failed())?;
        let challenge = match order.state().status {
            OrderStatus::Pending => Some(self.challenge(&mut order, kind).await?),
            // Proven lately, by another order.
            _ => None,
        };
        Ok(Placed {
            authority: self.config.name.clone(),
            url: order.url().to_owned(),
            challenge,
        })
    }

    fn new_order<'a>(&'a self, identifiers: &'a [Identifier]) -> NewOrder<'a> {
        let wanted = NewOrder::new(identifiers);
        match &self.config.profile {
            Some(profile) => wanted.profile(profile),
            None => wanted,
        }
    }

    async fn challenge(
        &self,
        order: &mut instant_acme::Order,
        kind: Kind,
    ) -> Result<Challenge, Error> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(self.failed())?;
            let offered = kind.order().into_iter().find(|kind| {
                let mut challenges = authorization.challenges.iter();
                challenges.any(|challenge| challenge.r#type == *kind)
            });
            let Some(offered) = offered else { continue };
            if let Some(challenge) = authorization.challenge(offered) {
                return Ok(Challenge {
                    token: challenge.token.clone(),
                    key_authorization: challenge.key_authorization().as_str().to_owned(),
                });
            }
        }
        Err(Error::NoChallenge(self.config.name.clone()))
    }

    /// Tells it that edges answer now.
    ///
    /// # Errors
    /// When it refuses, or can't be reached.
    pub async fn begin(&self, placed: &Placed, kind: Kind) -> Result<(), Error> {
        again(|| self.begin_once(placed, kind)).await
    }

    async fn begin_once(&self, placed: &Placed, kind: Kind) -> Result<(), Error> {
        let order = self.account.order(placed.url.clone()).await;
        let mut order = order.map_err(self.failed())?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(self.failed())?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            // Challenges of both kinds may have one token.
            let token = placed.challenge.as_ref().map(|challenge| &challenge.token);
            let has = |kind: &ChallengeType| {
                let mut challenges = authorization.challenges.iter();
                challenges.any(|one| one.r#type == *kind && Some(&one.token) == token)
            };
            let kind = kind.order().into_iter().find(has);
            if let Some(mut challenge) = kind.and_then(|kind| authorization.challenge(kind)) {
                challenge.set_ready().await.map_err(self.failed())?;
            }
        }
        Ok(())
    }

    /// How far it is with an order.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn validation(&self, placed: &Placed) -> Result<Validation, Error> {
        match again(|| self.validation_once(placed)).await {
            Err(error) if error.is_of_no_order() => Ok(Validation::Failed(Problem::new(
                Code::Refused,
                format!("{} does not know the order any more", self.config.name),
            ))),
            validation => validation,
        }
    }

    async fn validation_once(&self, placed: &Placed) -> Result<Validation, Error> {
        let order = self.account.order(placed.url.clone()).await;
        let mut order = order.map_err(self.failed())?;
        match order.state().status {
            OrderStatus::Pending => Ok(Validation::Pending),
            OrderStatus::Ready => Ok(Validation::Ready),
            OrderStatus::Processing | OrderStatus::Valid => Ok(Validation::Requested),
            OrderStatus::Invalid => Ok(Validation::Failed(self.why(&mut order).await?)),
        }
    }

    /// What it found at the hostname.
    async fn why(&self, order: &mut instant_acme::Order) -> Result<Problem, Error> {
        let name = &self.config.name;
        let of_order = order.state().error.as_ref();
        let mut found = of_order.map(|problem| of_validation(name, problem));
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(self.failed())?;
            let failed = authorization
                .challenges
                .iter()
                .find_map(|c| c.error.as_ref());
            found = failed.map(|problem| of_validation(name, problem)).or(found);
        }
        let unsaid = || Problem::new(Code::Validation, format!("{name} does not say why"));
        Ok(found.unwrap_or_else(unsaid))
    }

    /// Asks for the certificate.
    ///
    /// # Errors
    /// When it refuses, or can't be reached.
    pub async fn request(&self, placed: &Placed, csr_der: &[u8]) -> Result<(), Error> {
        again(|| async move {
            let order = self.account.order(placed.url.clone()).await;
            let mut order = order.map_err(self.failed())?;
            match order.state().status {
                // A request that was not answered may have been heard.
                OrderStatus::Processing | OrderStatus::Valid => Ok(()),
                _ => order.finalize_csr(csr_der).await.map_err(self.failed()),
            }
        })
        .await
    }

    /// The chain (PEM), once it is made.
    ///
    /// # Errors
    /// When it refuses, or can't be reached.
    pub async fn chain(&self, placed: &Placed) -> Result<Option<String>, Error> {
        again(|| async move {
            let order = self.account.order(placed.url.clone()).await;
            let mut order = order.map_err(self.failed())?;
            order.certificate().await.map_err(self.failed())
        })
        .await
    }

    /// When it wants a certificate of its own to be renewed, and when to ask again; none when it knows no such thing.
    ///
    /// # Errors
    /// When it can't be reached, or the certificate is none.
    pub async fn window(&self, chain_pem: &str) -> Result<Option<Window>, Error> {
        let unusable = |source| Error::Issued {
            authority: self.config.name.clone(),
            source,
        };
        let leaf = Chain::leaf(chain_pem).map_err(unusable)?;
        let Ok(id) = CertificateIdentifier::try_from(&leaf) else {
            return Ok(None);
        };
        let (info, again) = match self.account.renewal_info(&id).await {
            Ok(told) => told,
            Err(instant_acme::Error::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(self.failed()(error)),
        };
        let window = info.suggested_window;
        let time = |at: i64| DateTime::from_timestamp(at, 0);
        let bounds = time(window.start.unix_timestamp()).zip(time(window.end.unix_timestamp()));
        Ok(bounds.map(|bounds| Window {
            bounds,
            ask_again_in: again,
        }))
    }
}

/// When to renew (RFC 9773).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub bounds: (DateTime<Utc>, DateTime<Utc>),
    pub ask_again_in: Duration,
}

/// Nonces are forgotten by authorities that have many: another one may do.
pub(super) async fn again<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 1..NONCES {
        match ask().await {
            Err(error) if error.is_bad_nonce() => {}
            answered => return answered,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_port_is_asked_after_each_failure() {
        assert_eq!(
            [0, 1, 2, 3].map(Kind::after),
            [Kind::Http01, Kind::TlsAlpn01, Kind::Http01, Kind::TlsAlpn01]
        );
    }

    #[tokio::test]
    async fn a_forgotten_nonce_is_met_with_another_one_and_nothing_else_is_repeated() {
        let refusing = |kind: &'static str, times: usize| async move {
            let mut asked = 0;
            let answered = again(|| {
                asked += 1;
                let refused = asked <= times;
                async move {
                    let problem = serde_json::json!({
                        "type": format!("urn:ietf:params:acme:error:{kind}"),
                    });
                    let problem = serde_json::from_value(problem).unwrap();
                    let error = Error::Authority {
                        authority: "x".into(),
                        source: instant_acme::Error::Api(problem),
                    };
                    if refused { Err(error) } else { Ok(()) }
                }
            })
            .await;
            (asked, answered.is_ok())
        };
        assert_eq!(refusing("badNonce", 3).await, (4, true));
        assert_eq!(refusing("badNonce", 99).await, (NONCES, false));
        assert_eq!(refusing("malformed", 3).await, (1, false));
    }
}
