//! The edge as users and other nodes meet it: real TCP and TLS, real instances, real agents' answers.

mod breaker;
mod compress;
mod deploy;
mod exhausted;
mod forward;
mod front;
mod grpc;
mod h2c;
mod hand_over;
mod health;
mod http;
mod limits;
mod paths;
mod poison;
mod process;
mod proxy_protocol;
mod refused;
mod regions;
mod retry;
mod smuggling;
mod split;
mod sticky;
mod support;
mod terminate;
mod tunnel;
mod web_socket;
