//! A machine and a platform for tests.

use std::collections::BTreeMap;

use domain::{id::JoinTokenId, quantity::Bytes};
use protocol::{join::Role, join_token::JoinToken};

use super::{
    host::{Host, Identity},
    platform::Platform,
};

pub fn host() -> Host {
    Host {
        name: "Rack7.example.com".into(),
        cpus: 4,
        memory: Bytes::mebibytes(8192),
        disk_free: Bytes::mebibytes(100 * 1024),
        address: Some("192.0.2.7".parse().unwrap()),
        addresses: vec!["192.0.2.7".parse().unwrap(), "10.208.1.1".parse().unwrap()],
        networks: vec![
            "192.0.2.0/24".parse().unwrap(),
            "10.208.1.0/24".parse().unwrap(),
        ],
        resolvers: vec!["192.0.2.53".parse().unwrap()],
        registry: vec!["198.51.100.5".parse().unwrap()],
        decided: None,
        identities: BTreeMap::new(),
    }
}

pub fn platform() -> Platform {
    let token = |id: &str| JoinToken {
        id: id.parse::<JoinTokenId>().unwrap(),
        secret: "ab".repeat(32),
        ca_sha256: [7; 32],
    };
    Platform {
        control_plane: "https://node.railhead.example.com:8444".parse().unwrap(),
        region: "eu-west".parse().unwrap(),
        registry: "registry.railhead.example.com:5000".into(),
        ca: "-----BEGIN CERTIFICATE-----\n".into(),
        tokens: [
            (Role::Agent, token("jnt_0192f3c8000070008000a1b2c3d4e5f6")),
            (Role::Edge, token("jnt_0192f3c8000070008000a1b2c3d4e5f7")),
        ]
        .into(),
        nodes: BTreeMap::new(),
    }
}

pub fn identity() -> Identity {
    Identity {
        node: "nod_0192f3c8000070008000a1b2c3d4e5f6".parse().unwrap(),
        region: "eu-west".parse().unwrap(),
        ca: "-----BEGIN CERTIFICATE-----\n".into(),
    }
}
