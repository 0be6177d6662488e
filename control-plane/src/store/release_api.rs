//! Releases as people see them.

use sqlx::postgres::PgRow;

use api::{
    page::Page,
    release::{Commit, Release, SourceImage},
};
use domain::{
    id::{ReleaseId, ServiceId},
    name::VariableName,
};

use super::{Error, page::Paging, query, row::Columns, tx::Access};

macro_rules! select_release {
    ($rest:literal) => {
        concat!(
            "select r.id, r.service_id, r.number, r.image, r.spec, r.commit_sha, r.commit_title,
                 r.commit_author, r.commit_branch, r.image_reference, r.image_source_digest, r.created_at,
                 array(select s.name from release_secret s
                       where s.organization_id = r.organization_id and s.release_id = r.id
                       order by s.name) as variables
             from release r ",
            $rest
        )
    };
}

fn release(row: &PgRow) -> Result<Release, Error> {
    let names: Vec<String> = row.value("variables")?;
    Ok(Release {
        id: row.id("id")?,
        service_id: row.id("service_id")?,
        number: row.value("number")?,
        image: row.value("image")?,
        spec: row.json("spec")?,
        variables: names
            .iter()
            .map(|name| name.parse::<VariableName>())
            .collect::<Result<_, _>>()
            .map_err(|e| Error::corrupt("variable name", e))?,
        commit: commit(row)?,
        source_image: source_image(row)?,
        created_at: row.value("created_at")?,
    })
}

fn source_image(row: &PgRow) -> Result<Option<SourceImage>, Error> {
    let reference: Option<String> = row.value("image_reference")?;
    let digest: Option<String> = row.value("image_source_digest")?;
    Ok(reference.map(|reference| SourceImage { reference, digest }))
}

/// The commit in the columns `commit_…`.
pub(super) fn commit(row: &PgRow) -> Result<Option<Commit>, Error> {
    let sha: Option<String> = row.value("commit_sha")?;
    let title: Option<String> = row.value("commit_title")?;
    let author: Option<String> = row.value("commit_author")?;
    let branch: Option<String> = row.value("commit_branch")?;
    Ok(sha.map(|sha| Commit {
        sha,
        title: title.unwrap_or_default(),
        author: author.unwrap_or_default(),
        branch,
    }))
}

/// One release.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: ReleaseId) -> Result<Option<Release>, Error> {
    let query = sqlx::query(select_release!("where r.id = $1")).bind(id.uuid());
    query::find(tx, query, release).await
}

/// The releases of a service, newest first.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Release>, Error> {
    let query = sqlx::query(select_release!(
        "where r.service_id = $1 and ($2::uuid is null or r.id < $2) order by r.id desc limit $3"
    ))
    .bind(service.uuid());
    query::page(tx, query, paging, release, |r| r.id.uuid()).await
}
