//! The edge as users and other nodes meet it: real TCP and TLS, real instances, real agents' answers.

mod deploy;
mod exhausted;
mod forward;
mod front;
mod grpc;
mod hand_over;
mod health;
mod http;
mod limits;
mod poison;
mod process;
mod proxy_protocol;
mod refused;
mod rules;
mod smuggling;
mod support;
mod terminate;
mod tunnel;
mod web_socket;
