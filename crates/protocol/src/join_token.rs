//! The single-use token that lets a machine become a node (docs/PROTOCOL.md). It carries the hash of
//! the CA's public key, so that the very first connection is already checked.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::id::JoinTokenId;

use crate::join::Role;

/// `rhj_<32 hex digits of its id>.<secret>.<SHA-256 of the CA's SubjectPublicKeyInfo, hex>`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Under which the control plane finds it.
    pub id: JoinTokenId,
    /// 64 hexadecimal digits; only its hash is stored.
    pub secret: String,
    /// SHA-256 of the CA's SubjectPublicKeyInfo (DER).
    pub ca_sha256: [u8; 32],
}

/// A text that is no join token. Never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join token: expected rhj_<id>.<secret>.<hash of the CA>; make one with `railhead node token`"
)]
pub struct InvalidJoinToken;

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.uuid().simple();
        write!(
            f,
            "rhj_{id}.{}.{}",
            self.secret,
            hex::encode(self.ca_sha256)
        )
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = InvalidJoinToken;

    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        let rest = text.strip_prefix("rhj_").ok_or(InvalidJoinToken)?;
        let mut parts = rest.split('.');
        let (Some(id), Some(secret), Some(ca), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidJoinToken);
        };
        let id = format!("{}_{id}", JoinTokenId::PREFIX);
        let well_formed = secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit());
        let mut ca_sha256 = [0; 32];
        hex::decode_to_slice(ca, &mut ca_sha256).map_err(|_| InvalidJoinToken)?;
        match id.parse() {
            Ok(id) if well_formed => Ok(Self {
                id,
                secret: secret.to_owned(),
                ca_sha256,
            }),
            _ => Err(InvalidJoinToken),
        }
    }
}

/// All that a machine needs to join as one or more nodes: where the control plane is, and a [`JoinToken`] for
/// each role. Each stays good for one node, expires and is audited by itself.
///
/// `rhm_<control plane's node URL, base64url>.<SHA-256 of the CA's SPKI>{.<role>.<id>.<secret>}`
#[derive(Clone, PartialEq, Eq)]
pub struct MachineToken {
    /// Base URL of the control plane's node API.
    pub control_plane: String,
    ca_sha256: [u8; 32],
    secrets: BTreeMap<Role, (JoinTokenId, String)>,
}

/// A text that is no machine token, or join tokens that make none. Never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no machine token: expected rhm_…, whole and without blanks; make one with `railhead node token --region REGION`"
)]
pub struct InvalidMachineToken;

impl MachineToken {
    /// From the tokens of the roles.
    ///
    /// # Errors
    /// When there is none, or they are not of one platform.
    pub fn new(
        control_plane: &str,
        tokens: &BTreeMap<Role, JoinToken>,
    ) -> Result<Self, InvalidMachineToken> {
        let first = tokens.values().next().ok_or(InvalidMachineToken)?;
        if tokens
            .values()
            .any(|token| token.ca_sha256 != first.ca_sha256)
        {
            return Err(InvalidMachineToken);
        }
        let secrets = tokens.iter();
        Ok(Self {
            control_plane: control_plane.to_owned(),
            ca_sha256: first.ca_sha256,
            secrets: secrets
                .map(|(role, token)| (*role, (token.id, token.secret.clone())))
                .collect(),
        })
    }

    /// The token of each role.
    #[must_use]
    pub fn tokens(&self) -> BTreeMap<Role, JoinToken> {
        let all = self.secrets.iter();
        all.map(|(role, (id, secret))| {
            let token = JoinToken {
                id: *id,
                secret: secret.clone(),
                ca_sha256: self.ca_sha256,
            };
            (*role, token)
        })
        .collect()
    }
}

impl fmt::Debug for MachineToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineToken")
            .field("control_plane", &self.control_plane)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for MachineToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control_plane = URL_SAFE_NO_PAD.encode(&self.control_plane);
        write!(f, "rhm_{control_plane}.{}", hex::encode(self.ca_sha256))?;
        for (role, (id, secret)) in &self.secrets {
            write!(f, ".{}.{}.{secret}", role.as_str(), id.uuid().simple())?;
        }
        Ok(())
    }
}

impl FromStr for MachineToken {
    type Err = InvalidMachineToken;

    fn from_str(text: &str) -> Result<Self, InvalidMachineToken> {
        let rest = text.strip_prefix("rhm_").ok_or(InvalidMachineToken)?;
        let parts: Vec<&str> = rest.split('.').collect();
        let [control_plane, ca, roles @ ..] = parts.as_slice() else {
            return Err(InvalidMachineToken);
        };
        let decoded = URL_SAFE_NO_PAD.decode(control_plane);
        let control_plane = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let mut tokens = BTreeMap::new();
        for role in roles.chunks(3) {
            let (role, token) = role_token(role, ca)?;
            if tokens.insert(role, token).is_some() {
                return Err(InvalidMachineToken);
            }
        }
        Self::new(&control_plane.ok_or(InvalidMachineToken)?, &tokens)
    }
}

fn role_token(parts: &[&str], ca: &str) -> Result<(Role, JoinToken), InvalidMachineToken> {
    let [role, id, secret] = parts else {
        return Err(InvalidMachineToken);
    };
    let role = match *role {
        "agent" => Role::Agent,
        "edge" => Role::Edge,
        _ => return Err(InvalidMachineToken),
    };
    let token = format!("rhj_{id}.{secret}.{ca}").parse();
    Ok((role, token.map_err(|_| InvalidMachineToken)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(ca: u8) -> JoinToken {
        JoinToken {
            id: JoinTokenId::new(),
            secret: "ab".repeat(32),
            ca_sha256: [ca; 32],
        }
    }

    #[test]
    fn a_machine_token_reads_back_and_tokens_of_two_platforms_make_none() {
        let tokens = BTreeMap::from([(Role::Agent, token(7)), (Role::Edge, token(7))]);
        let machine = MachineToken::new("https://10.96.0.1:8444", &tokens).unwrap();
        let text = machine.to_string();
        let read: MachineToken = text.parse().unwrap();
        assert_eq!((&read, read.tokens()), (&machine, tokens.clone()));
        assert!(!text.contains(' ') && text.len() < 400, "{text}");
        for text in [
            "",
            "rhm_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}.edge"),
            &text.replace(".edge.", ".agent."),
            &text.replace(".edge.", ".root."),
        ] {
            assert!(text.parse::<MachineToken>().is_err(), "{text}");
        }
        let mixed = BTreeMap::from([(Role::Agent, token(7)), (Role::Edge, token(8))]);
        assert!(MachineToken::new("https://10.96.0.1:8444", &mixed).is_err());
    }

    #[test]
    fn a_token_reads_back_and_never_shows_its_secret() {
        let token = JoinToken {
            id: JoinTokenId::new(),
            secret: "ab".repeat(32),
            ca_sha256: [7; 32],
        };
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
        let text = token.to_string();
        for text in [
            "",
            "rhj_",
            "rhj_a.b.c",
            &text[1..],
            &text[..text.len() - 2],
            &format!("{text}.x"),
        ] {
            assert!(text.parse::<JoinToken>().is_err(), "{text}");
        }
    }
}
