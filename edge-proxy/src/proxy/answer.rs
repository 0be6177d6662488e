//! What the edge adds to answers, because the service wants it.

use domain::spec::Sticky;
use http::header;
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use super::{
    context::{RequestCtx, Target},
    headers, sticky,
};
use crate::{compress::Compression, decide::ConnInfo, route::Route};

/// The answer to this request is compressed, if client and answer are such.
pub(super) fn compress(session: &mut Session, route: &Route) {
    let modules = &mut session.downstream_modules_ctx;
    if let Some(compression) = modules
        .get_mut::<Compression>()
        .filter(|_| route.compression)
    {
        compression.want();
    }
}

/// The user's next request shall go to the instance that answers now.
pub(super) fn stay(
    request: &RequestHeader,
    response: &mut ResponseHeader,
    ctx: &RequestCtx,
) -> Result<()> {
    let (Some(route), Some(Target::Instance { endpoint, .. })) = (&ctx.route, &ctx.target) else {
        return Ok(());
    };
    let tag = endpoint.tag();
    if route.sticky == Sticky::Off
        || response.status.is_informational()
        || sticky::wanted(&request.headers).next() == Some(tag)
    {
        return Ok(());
    }
    let info = ctx.connection.as_ref().map(|connection| &connection.info);
    let https = info.is_some_and(|info| is_https(info, request));
    response.append_header(header::SET_COOKIE, sticky::set_cookie(tag, https))?;
    Ok(())
}

/// Whether the user speaks HTTPS, with this edge or with the one that forwarded the request.
fn is_https(info: &ConnInfo, request: &RequestHeader) -> bool {
    let forwarded = || headers::text(&request.headers, &headers::FORWARDED_PROTO);
    info.tls.is_some() || (info.via.is_some() && forwarded() == Some("https"))
}

/// Browsers shall use HTTPS only (RFC 6797): told where TLS ends, unless the application says something itself.
pub(super) fn strict_transport(response: &mut ResponseHeader, ctx: &RequestCtx) -> Result<()> {
    let connection = ctx.connection.as_ref();
    let has_tls = connection.is_some_and(|connection| connection.info.tls.is_some());
    let is_said = response
        .headers
        .contains_key(header::STRICT_TRANSPORT_SECURITY);
    let hsts = ctx.route.as_ref().and_then(|route| route.hsts.as_ref());
    match hsts.filter(|_| has_tls && !is_said) {
        Some(hsts) => response.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts.clone()),
        None => Ok(()),
    }
}
