//! What is asked, and what is answered.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{self, Answer, closing, failed};
use super::guard::{Denial, Question};
use super::listener::Peer;
use super::{App, change, events};
use crate::deployment::Version;
use crate::description::{ComponentOutline, Outline};
use crate::status::{DEPLOYMENTS_MAX, DeploymentStatus, RefusalStatus};
use crate::telemetry::exposition;

/// The description of all of this, for programs.
const OPENAPI: &str = include_str!("openapi.json");

/// A path, and what it says.
struct Route {
    method: &'static str,
    path: &'static str,
    about: &'static str,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// All there is: the router is made of it.
const ROUTES: [Route; 11] = [
    Route {
        method: "GET",
        path: "/healthz",
        about: "whether the process and its threads answer",
        handler: || get(healthz),
    },
    Route {
        method: "GET",
        path: "/readyz",
        about: "whether records flow, and who is waited for",
        handler: || get(readyz),
    },
    Route {
        method: "GET",
        path: "/metrics",
        about: "metrics, for Prometheus",
        handler: || get(metrics),
    },
    Route {
        method: "GET",
        path: "/api/status",
        about: "the pipeline at this moment",
        handler: || get(status),
    },
    Route {
        method: "GET",
        path: "/api/pipeline",
        about: "its streams, stages and sinks",
        handler: || get(pipeline),
    },
    Route {
        method: "GET",
        path: "/api/components",
        about: "its components, with versions, digests and limits",
        handler: || get(components),
    },
    Route {
        method: "GET",
        path: "/api/deployments",
        about: "the versions of its logic, newest last",
        handler: || get(deployments),
    },
    Route {
        method: "GET",
        path: "/api/events",
        about: "what happens to the running version, as server-sent events",
        handler: || get(events::events),
    },
    Route {
        method: "POST",
        path: "/api/reload",
        about: "takes the files as they are now; with {\"dry_run\": true} says what that would do",
        handler: || post(change::reload),
    },
    Route {
        method: "POST",
        path: "/api/rollback",
        about: "goes back to the version before, or to {\"version\": N}",
        handler: || post(change::rollback),
    },
    Route {
        method: "GET",
        path: "/api/openapi.json",
        about: "all of this in the words of OpenAPI 3.1",
        handler: || get(openapi),
    },
];

/// Characters of a path that an answer repeats.
const PATH_CHARS_MAX: usize = 200;

pub(super) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    router
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_so)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Answers only those who may ask.
async fn guard(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Answer {
    let question = Question {
        peer: peer.address.ip(),
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
    };
    match app.guard.judge(question) {
        Ok(()) => next.run(request).await,
        Err(denial) => {
            tracing::debug!(peer = %peer.address, %denial, "a request was denied");
            denied(denial)
        }
    }
}

fn denied(denial: Denial) -> Answer {
    let challenge = match denial {
        Denial::NoToken => "Bearer realm=\"wasmill\"",
        Denial::WrongToken => "Bearer realm=\"wasmill\", error=\"invalid_token\"",
        Denial::Exposed | Denial::Elsewhere | Denial::Host | Denial::Origin => {
            return failed(StatusCode::FORBIDDEN, "forbidden", &denial.to_string());
        }
    };
    let mut answer = failed(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        &denial.to_string(),
    );
    let challenge = HeaderValue::from_static(challenge);
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    answer
}

async fn healthz(State(app): State<Arc<App>>) -> Answer {
    let stuck = app.known.monitor.stuck();
    if stuck.is_empty() {
        return answer::json(StatusCode::OK, &json!({ "status": "alive" }));
    }
    let threads = stuck
        .iter()
        .map(|(name, busy)| json!({ "thread": name, "busy_seconds": busy.as_secs() }));
    let stuck = json!({ "status": "stuck", "threads": threads.collect::<Vec<_>>() });
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &stuck)
}

async fn readyz(State(app): State<Arc<App>>) -> Answer {
    let status = app.known.monitor.status();
    if status.is_ready() {
        return answer::json(StatusCode::OK, &json!({ "status": "ready" }));
    }
    let waiting_for = status.waiting_for.iter().map(|waiting| {
        json!({
            "part": waiting.part,
            "reason": waiting.reason,
            "seconds": waiting.since.as_secs_f64(),
        })
    });
    let not_ready = json!({
        "status": "not ready",
        "phase": status.phase,
        "waiting_for": waiting_for.collect::<Vec<_>>(),
    });
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &not_ready)
}

async fn metrics(State(app): State<Arc<App>>) -> Answer {
    let text = app.known.monitor.metrics();
    answer::text_of(StatusCode::OK, exposition::CONTENT_TYPE, text)
}

async fn status(State(app): State<Arc<App>>) -> Answer {
    let mut status = app.known.monitor.status();
    let deployments = app.known.control.deployments();
    let newest = deployments.len().saturating_sub(DEPLOYMENTS_MAX);
    status.deployments = deployments[newest..].to_vec();
    status.refused = app.known.notes.last_refusal();
    answer::json(StatusCode::OK, &status)
}

async fn pipeline(State(app): State<Arc<App>>) -> Answer {
    #[derive(Serialize)]
    struct InForce<'a> {
        deployment: Option<Version>,
        #[serde(flatten)]
        pipeline: &'a Outline,
    }
    let description = app.known.control.description();
    let in_force = InForce {
        deployment: app.deployment(),
        pipeline: &description.pipeline,
    };
    answer::json(StatusCode::OK, &in_force)
}

async fn components(State(app): State<Arc<App>>) -> Answer {
    #[derive(Serialize)]
    struct InForce<'a> {
        deployment: Option<Version>,
        components: &'a [ComponentOutline],
    }
    let description = app.known.control.description();
    let in_force = InForce {
        deployment: app.deployment(),
        components: &description.components,
    };
    answer::json(StatusCode::OK, &in_force)
}

async fn deployments(State(app): State<Arc<App>>) -> Answer {
    #[derive(Serialize)]
    struct Known<'a> {
        deployments: &'a [DeploymentStatus],
        refused: Option<RefusalStatus>,
    }
    let deployments = app.known.control.deployments();
    let known = Known {
        deployments: &deployments,
        refused: app.known.notes.last_refusal(),
    };
    answer::json(StatusCode::OK, &known)
}

async fn openapi() -> Answer {
    answer::text_of(StatusCode::OK, "application/json", OPENAPI)
}

async fn nothing_there(uri: Uri) -> Answer {
    let path: String = uri.path().chars().take(PATH_CHARS_MAX).collect();
    let error = format!("there is nothing at {path}");
    let value = with_paths(&error, "nothing_there");
    answer::json(StatusCode::NOT_FOUND, &value)
}

/// A path that there is, asked with another method. axum adds `Allow`.
async fn not_so(method: Method, uri: Uri) -> Answer {
    if method == Method::OPTIONS {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        return closing(answer);
    }
    let route = ROUTES.iter().find(|route| route.path == uri.path());
    let method = route.map_or("GET", |route| route.method);
    let error = format!("this path only answers {method}");
    let value = with_paths(&error, "method_not_allowed");
    answer::json(StatusCode::METHOD_NOT_ALLOWED, &value)
}

fn with_paths(error: &str, kind: &str) -> Value {
    let paths = ROUTES
        .iter()
        .map(|route| json!({ "method": route.method, "path": route.path, "about": route.about }));
    json!({ "error": error, "kind": kind, "paths": paths.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_no_other() {
        let described: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = described["paths"].as_object().unwrap().iter();
        let described: BTreeSet<(String, String)> = paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(|method| (method.to_ascii_uppercase(), path.clone()))
            })
            .collect();
        let routes = ROUTES.iter();
        let routes = routes.map(|route| (route.method.to_owned(), route.path.to_owned()));
        assert_eq!(described, routes.collect());
    }
}
