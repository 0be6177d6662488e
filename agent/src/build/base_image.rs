//! The images that a build began with, as BuildKit names them in its steps.

use domain::image::ImageReference;

/// An image that a build began with, as it was looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseImage {
    /// With its registry, without its tag.
    name: String,
    /// `sha256:…`.
    pub digest: String,
}

impl BaseImage {
    /// From a step's name, such as `[build 1/4] FROM docker.io/library/python:3.11@sha256:…`.
    pub fn of_step(name: &str) -> Option<Self> {
        let (_, instruction) = name.strip_prefix('[')?.split_once("] ")?;
        let image = instruction.strip_prefix("FROM ")?;
        let image = image.split_whitespace().next()?;
        let (image, digest) = image.split_once('@')?;
        let name = match image.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => image,
        };
        Some(Self {
            name: name.to_owned(),
            digest: digest.to_owned(),
        })
    }

    /// `library/…`, when it is one of the platform's own.
    pub fn library(&self) -> Option<&str> {
        self.name
            .strip_prefix("docker.io/")
            .filter(|repository| repository.starts_with("library/"))
    }
}

/// The image that a step looks up or begins with: `[internal] load metadata for docker.io/library/python:3.11` or
/// `[build 1/4] FROM docker.io/library/python:3.11@sha256:…`.
pub fn looked_up(step: &str) -> Option<ImageReference> {
    let image = match step.split_once("load metadata for ") {
        Some((_, image)) => image,
        None => step.split_once("] FROM ")?.1,
    };
    image.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_images_are_told_from_other_images() {
        let library = |name: &str| BaseImage::of_step(name)?.library().map(str::to_owned);
        let python = Some("library/python".to_owned());
        assert_eq!(
            library("[1/4] FROM docker.io/library/python:3.11-slim@sha256:ab"),
            python
        );
        assert_eq!(
            library("[build 1/2] FROM docker.io/library/python@sha256:ab"),
            python
        );
        for other in [
            "[1/4] FROM 10.96.0.1:5000/org_1/svc_1:latest@sha256:ab",
            "[1/4] FROM docker.io/someone/python:3@sha256:ab",
            "[1/4] FROM docker.io/library/python:3",
            "[2/4] RUN echo ] FROM docker.io/library/x@sha256:ab",
            "[internal] load metadata for docker.io/library/python:3",
        ] {
            assert_eq!(library(other), None, "{other}");
        }
        let other = BaseImage::of_step("[1/1] FROM r.example.com:5000/a/b@sha256:cd").unwrap();
        assert_eq!(other.digest, "sha256:cd");
        assert_eq!(other.name, "r.example.com:5000/a/b");
    }

    #[test]
    fn a_step_that_looks_an_image_up_names_it() {
        for step in [
            "[internal] load metadata for docker.io/library/python:3.11",
            "[build 1/4] FROM docker.io/library/python:3.11",
            "[1/4] FROM python:3.11 AS x",
        ] {
            let image = looked_up(step).unwrap();
            assert_eq!(image.to_string(), "docker.io/library/python:3.11", "{step}");
        }
        assert_eq!(looked_up("[2/4] RUN make"), None);
    }
}
