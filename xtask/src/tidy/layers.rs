//! Inside the control plane: `http → app → store`; SQL only in `store` (and the log store, which is a
//! database of its own), authorization only in `app`.

use super::SourceFile;

const CRATE: &str = "control-plane/src/";

struct Layer {
    name: &'static str,
    must_not_name: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "http",
        must_not_name: &["crate::store", "sqlx::"],
    },
    Layer {
        name: "store",
        must_not_name: &["crate::app", "crate::http", "crate::node_http"],
    },
    Layer {
        name: "app",
        must_not_name: &["crate::http", "crate::node_http", "axum::"],
    },
];

const SQL_MAY_STAND_IN: &[&str] = &["store", "logs"];

/// Every line of a control-plane file that breaks a layer.
pub fn check(file: &SourceFile) -> Vec<String> {
    let Some(inner) = file
        .path
        .strip_prefix(CRATE)
        .filter(|path| path.ends_with(".rs"))
    else {
        return Vec::new();
    };
    let layer = inner.split(['/', '.']).next().unwrap_or_default();
    shipped_lines(&file.text)
        .flat_map(|(number, line)| {
            problems(layer, line)
                .into_iter()
                .map(move |problem| format!("{}:{number}: {problem}", file.path))
        })
        .collect()
}

fn problems(layer: &str, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rule in LAYERS.iter().filter(|rule| rule.name == layer) {
        for name in rule.must_not_name {
            if line.contains(name) {
                found.push(format!("{layer} must not know {name} (http → app → store)"));
            }
        }
    }
    if line.contains("sqlx::query") && !SQL_MAY_STAND_IN.contains(&layer) {
        found.push("SQL stands in store only".to_owned());
    }
    if line.contains("authorize(") && !["app", "identity"].contains(&layer) {
        found.push("authorization stands in app only".to_owned());
    }
    found
}

/// Numbered lines up to the file's unit tests, without comments.
fn shipped_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn sql_outside_the_store_is_found_and_inside_is_not() {
        let sql = "let rows = sqlx::query(\"select 1\");";
        assert_eq!(findings("control-plane/src/app/service.rs", sql).len(), 1);
        assert_eq!(findings("control-plane/src/store/service.rs", sql), [""; 0]);
        assert_eq!(findings("agent/src/main.rs", sql), [""; 0]);
    }

    #[test]
    fn a_route_that_reaches_past_app_is_found() {
        let text = "//! crate::store is not for us\nuse crate::store::service;\n";
        assert_eq!(
            findings("control-plane/src/http/service.rs", text),
            [
                "control-plane/src/http/service.rs:2: http must not know crate::store (http → app → store)"
            ]
        );
    }

    #[test]
    fn unit_tests_may_do_more() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { sqlx::query(\"\"); } }\n";
        assert_eq!(findings("control-plane/src/http.rs", text), [""; 0]);
    }
}
