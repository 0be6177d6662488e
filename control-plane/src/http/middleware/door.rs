//! Before any route is looked for: a replica that is full turns away whoever comes. That must cost next to nothing,
//! because its time is for those that it answers.

use std::sync::Arc;

use axum::response::Response;
use http::Request;

use super::{Gate, RequestId, gate, headers, overloaded};

/// Of one replica.
#[derive(Debug, Clone, Default)]
pub struct Door(pub Arc<Gate>);

impl Door {
    /// The answer to whoever finds no place, not even one to wait; counted as shed alone, without a span. None for
    /// those who may come in, and for uploads, which have places of their own.
    #[must_use]
    pub fn turn_away<B>(&self, request: &Request<B>) -> Option<Response> {
        if !self.0.is_full() || request.uri().path().ends_with("/archives") {
            return None;
        }
        gate::count_shed();
        let id = RequestId::new();
        let mut response = overloaded().render(&id.0);
        headers::add(response.headers_mut(), &id);
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn asked(door: &Door, path: &str) -> Option<StatusCode> {
        let request = Request::get(path).body(()).unwrap();
        door.turn_away(&request).map(|answer| answer.status())
    }

    #[tokio::test]
    async fn only_who_finds_no_place_at_all_is_turned_away_and_no_upload() {
        let door = Door(Arc::default());
        assert_eq!(asked(&door, "/v1/me"), None);
        let _taken = door.0.fill();
        let full = Some(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked(&door, "/v1/me"), full);
        assert_eq!(asked(&door, "/v1/services/x/archives"), None);
    }
}
