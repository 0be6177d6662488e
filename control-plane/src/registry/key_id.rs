//! The name of a public key in token headers, as docker-registry 2 computes it (libtrust): the
//! first 240 bits of SHA-256 over the `SubjectPublicKeyInfo`, base32, in groups of four.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The key id of a public key (DER).
pub fn key_id(public_key_info: &[u8]) -> String {
    let hash = Sha256::digest(public_key_info);
    let groups: Vec<String> = hash[..30]
        .chunks(5)
        .flat_map(|forty_bits| {
            let text = base32(forty_bits);
            [text[..4].to_owned(), text[4..].to_owned()]
        })
        .collect();
    groups.join(":")
}

/// Five bytes as eight characters.
fn base32(forty_bits: &[u8]) -> String {
    let bits = forty_bits
        .iter()
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    (0..8)
        .rev()
        .map(|place| ALPHABET[(bits >> (5 * place)) as usize & 31] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648() {
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
    }

    #[test]
    fn a_key_id_has_twelve_groups_of_four() {
        let id = key_id(b"any key");
        let groups: Vec<_> = id.split(':').map(str::len).collect();
        assert_eq!(groups, [4; 12]);
    }
}
