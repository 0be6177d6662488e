//! The routes of one host name, by the beginnings of their paths: a request has the longest one that fits.

use std::{collections::HashMap, sync::Arc};

use super::Route;

/// Of one host name.
#[derive(Debug, Default)]
pub struct Paths {
    /// Of the paths that nothing else is for.
    whole: Option<Arc<Route>>,
    /// By their beginnings.
    parts: HashMap<String, Arc<Route>>,
    /// Bytes of the longest of these.
    longest: usize,
}

impl Paths {
    /// Adds a route.
    pub fn insert(&mut self, route: Route) {
        let route = Arc::new(route);
        match route.path.clone() {
            None => self.whole = Some(route),
            Some(path) => {
                self.longest = self.longest.max(path.len());
                self.parts.insert(path, route);
            }
        }
    }

    /// The route of a path, which is without its query.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        let mut beginnings = beginnings(path, self.longest);
        let part = match self.parts.is_empty() {
            true => None,
            false => beginnings.find_map(|beginning| self.parts.get(beginning)),
        };
        part.or(self.whole.as_ref())
    }

    /// How many routes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.parts.len() + usize::from(self.whole.is_some())
    }
}

/// A path and all above it, the longest first, of those that have at most so many bytes: a path may have thousands of parts.
fn beginnings(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let first = match path.len() <= longest {
        true => Some(path),
        // What is cut off begins with a slash, if the rest is whole.
        false => above(
            &path
                .get(..path.floor_char_boundary(longest + 1))
                .unwrap_or_default(),
        ),
    };
    std::iter::successors(first, above)
}

fn above<'a>(path: &&'a str) -> Option<&'a str> {
    path.rsplit_once('/').map(|(above, _)| above)
}

#[cfg(test)]
mod tests {
    use domain::id::ServiceId;
    use proptest::prelude::*;
    use protocol::item::{HostnameItem, RoutePolicy};

    use super::*;

    fn route(path: Option<&str>) -> Route {
        Route::of(&HostnameItem {
            hostname: "a.test".into(),
            path: path.map(str::to_owned),
            service_id: ServiceId::new(),
            regions: vec![],
            https_redirect: true,
            timeouts: domain::spec::Timeouts::default(),
            max_body: None,
            policy: RoutePolicy::default(),
        })
    }

    fn paths(of: &[Option<&str>]) -> Paths {
        let mut paths = Paths::default();
        of.iter().for_each(|path| paths.insert(route(*path)));
        paths
    }

    fn found<'a>(paths: &'a Paths, path: &str) -> Option<Option<&'a str>> {
        paths.find(path).map(|route| route.path.as_deref())
    }

    #[test]
    fn the_longest_beginning_that_ends_with_a_part_wins() {
        let paths = paths(&[None, Some("/api"), Some("/api/v2"), Some("/static")]);
        assert_eq!(paths.count(), 4);
        for (path, wanted) in [
            ("/", None),
            ("/apis", None),
            ("/ap", None),
            ("/api", Some("/api")),
            ("/api/", Some("/api")),
            ("/api/v1/x", Some("/api")),
            ("/api/v2", Some("/api/v2")),
            ("/api/v2/", Some("/api/v2")),
            ("/api/v20", Some("/api")),
            ("/API", None),
            ("//api", None),
            ("/x/api/v2", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(found(&paths, path), Some(wanted), "{path}");
        }
    }

    #[test]
    fn without_a_route_for_the_rest_there_is_none() {
        let paths = paths(&[Some("/api")]);
        assert_eq!(found(&paths, "/api/x"), Some(Some("/api")));
        assert_eq!(found(&paths, "/"), None);
        assert_eq!(found(&Paths::default(), "/"), None);
    }

    #[test]
    fn of_a_path_with_very_many_parts_few_are_looked_at() {
        let long = "/a".repeat(16_000);
        assert_eq!(
            beginnings(&long, 8).collect::<Vec<_>>(),
            ["/a/a/a/a", "/a/a/a", "/a/a", "/a", ""]
        );
        assert_eq!(beginnings("/äöü/x", 3).collect::<Vec<_>>(), [""]);
    }

    /// As one who reads the rule.
    fn naive<'a>(of: &'a [String], path: &str) -> Option<&'a str> {
        let fits = |beginning: &&String| {
            let rest = path.strip_prefix(beginning.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let longest = of
            .iter()
            .filter(fits)
            .max_by_key(|beginning| beginning.len());
        longest.map(String::as_str)
    }

    proptest! {
        #[test]
        fn it_finds_what_the_rule_says(
            of in proptest::collection::vec("(/[ab]{1,2}){1,4}", 0..8),
            path in "(/[ab]{0,3}){0,6}",
            rest in "\\PC{0,5}",
        ) {
            let texts: Vec<Option<&str>> = of.iter().map(|path| Some(path.as_str())).collect();
            let paths = paths(&texts);
            for path in [path.clone(), format!("{path}{rest}")] {
                prop_assert_eq!(found(&paths, &path).flatten(), naive(&of, &path), "{}", path);
            }
        }
    }
}
