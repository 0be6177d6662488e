use super::*;

const RFC2136: &str = r#"
    [provider]
    zone = "example.com"
    [provider.rfc2136]
    server = "192.0.2.53:53"
    key_name = "railhead"
    key_file = "/etc/railhead/tsig.key"
"#;

const ROUTE53: &str = r#"
    [provider]
    zone = "example.com"
    [provider.route53]
    hosted_zone_id = "Z1"
    [provider.route53.regions.eu-west]
    continents = ["EU"]
    aws_region = "eu-west-1"
    [provider.route53.regions.us-east]
    countries = ["US", "CA"]
    aws_region = "us-east-1"
"#;

fn check(text: &str) -> Result<Provider, String> {
    let dns: Dns = toml::from_str(text).map_err(|error| error.to_string())?;
    dns.check("apps.example.com")?;
    Ok(dns.provider.unwrap())
}

#[test]
fn a_small_part_has_the_documented_defaults() {
    let provider = check(RFC2136).unwrap();
    let names = provider.names("apps.example.com");
    assert_eq!(names, ["apps.example.com", "*.apps.example.com"]);
    assert_eq!(provider.ttl_seconds(), 60);
    let Service::Rfc2136(service) = provider.service else {
        panic!("another service");
    };
    assert_eq!(service.key_algorithm, Algorithm::HmacSha256);

    let Service::Route53(service) = check(ROUTE53).unwrap().service else {
        panic!("another service");
    };
    assert_eq!(service.policy, Policy::Geolocation);
    assert_eq!(service.health_check_port, 443);
    check(&ROUTE53.replace("hosted_zone_id", "policy = \"latency\"\nhosted_zone_id")).unwrap();
}

#[test]
fn what_can_not_be_is_refused_with_the_key_that_says_it() {
    let latency = ROUTE53.replace("hosted_zone_id", "policy = \"latency\"\nhosted_zone_id");
    let both = format!("{RFC2136}\n[provider.route53]\nhosted_zone_id = \"Z1\"");
    for (bad, key) in [
        ("[provider]\nzone = \"example.com\"".to_owned(), "one of"),
        (both, "one of"),
        (
            RFC2136.replace("\"example.com\"", "\"example.org\""),
            "zone",
        ),
        (RFC2136.replace("\"example.com\"", "\"ple.com\""), "zone"),
        (RFC2136.replace("key_name", "key"), "key"),
        (
            RFC2136.replace("key_name", "key_algorithm = \"hmac-md5\"\nkey_name"),
            "hmac-md5",
        ),
        (
            RFC2136.replace("zone =", "names = [\"www.example.com\"]\nzone ="),
            "names",
        ),
        (RFC2136.replace("zone =", "ttl = \"0s\"\nzone ="), "ttl"),
        (ROUTE53.replace("\"Z1\"", "\"\""), "hosted_zone_id"),
        (ROUTE53.replace("\"EU\"", "\"Europe\""), "regions.eu-west"),
        (ROUTE53.replace("\"US\", ", "\"us\", "), "regions.us-east"),
        (ROUTE53.replace("\"US\", ", "\"CA\", "), "twice"),
        (
            ROUTE53.replace("continents = [\"EU\"]", ""),
            "regions.eu-west",
        ),
        (latency.replace("us-east-1", "us-moon-1"), "us-moon-1"),
        (latency.replace("us-east-1", "eu-west-1"), "twice"),
        (
            latency.replace("aws_region = \"us-east-1\"", ""),
            "aws_region",
        ),
    ] {
        let error = check(&bad).unwrap_err();
        assert!(error.contains(key), "{bad}: {error}");
    }
}
