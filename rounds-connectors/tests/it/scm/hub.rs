//! A stand-in for GitHub's REST API (version 2022-11-28), with a repository behind it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::git::{Git, Object};
use super::server::{Asked, Fake, Said};

pub(crate) const TOKEN: &str = "github_pat_11TESTTOKEN0123456789";
pub(crate) const APP_KEY: &str = include_str!("app_key.pem");

pub(crate) struct Hub {
    pub(crate) git: Git,
    pub(crate) pulls: Vec<Value>,
    pub(crate) dispatched: Vec<Value>,
    /// Whether it knows `return_run_details`, as servers of 2026 do.
    pub(crate) tells_runs: bool,
    pub(crate) may_push: bool,
    pub(crate) archived: bool,
    /// Tokens of installations, by their text: permissions.
    pub(crate) minted: BTreeMap<String, Value>,
    /// What the installation was granted.
    pub(crate) granted: Vec<&'static str>,
    /// The token that may do everything.
    pub(crate) token: String,
    /// What people can see of what was asked: branches, pull requests, dispatches.
    pub(crate) effects: u64,
}

impl Hub {
    pub(crate) fn new() -> Self {
        let mut git = Git::default();
        git.push(
            "main",
            "first",
            &[
                ("deploy/web.yaml", Some("replicas: 2\nimage: web:1\n")),
                ("deploy/old.yaml", Some("gone: soon\n")),
                ("100755:deploy/run.sh", Some("#!/bin/sh\n")),
                ("120000:deploy/link", Some("web.yaml")),
                ("README.md", Some("hello\n")),
                (".github/workflows/restart.yml", Some("on: workflow_dispatch\n")),
            ],
        );
        let granted = vec!["contents", "pull_requests", "actions"];
        Self {
            git,
            pulls: Vec::new(),
            dispatched: Vec::new(),
            tells_runs: true,
            may_push: true,
            archived: false,
            minted: BTreeMap::new(),
            granted,
            token: TOKEN.into(),
            effects: 0,
        }
    }

    /// Branches that are not `main`.
    pub(crate) fn made(&self) -> Vec<(String, String)> {
        self.git.branches.iter().filter(|(name, _)| *name != "main").map(|(a, b)| (a.clone(), b.clone())).collect()
    }

    fn allows(&self, asked: &Asked, permission: &str, level: &str) -> Result<(), Said> {
        let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if token == self.token {
            return Ok(());
        }
        let Some(permissions) = self.minted.get(token) else {
            return Err(message(401, "Bad credentials"));
        };
        let has = permissions[permission].as_str().unwrap_or_default();
        if has == level || has == "write" {
            Ok(())
        } else {
            Err(message(403, "Resource not accessible by integration"))
        }
    }

    /// Gives out a token to who shows that it is App 123456.
    fn mint(&mut self, asked: &Asked) -> Said {
        let jwt = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let parts: Vec<&str> = jwt.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return message(401, "A JSON web token could not be decoded");
        };
        let der = rustls::pki_types::PrivateKeyDer::from_pem(APP_KEY);
        let key = ring::signature::RsaKeyPair::from_der(der.secret_der()).unwrap();
        let public = ring::signature::UnparsedPublicKey::new(
            &ring::signature::RSA_PKCS1_2048_8192_SHA256,
            key.public().as_ref(),
        );
        let read = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let genuine = public.verify(format!("{header}.{claims}").as_bytes(), &signature).is_ok();
        let (header, claims) = (read(header), read(claims));
        let span = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        if !genuine || header["alg"] != "RS256" || claims["iss"] != "123456" || !(1..=600).contains(&span) {
            return message(401, "A JSON web token could not be decoded");
        }
        let wanted = asked.body["permissions"].as_object().cloned().unwrap_or_default();
        if let Some(lacking) = wanted.keys().find(|name| !self.granted.contains(&name.as_str())) {
            let text = format!("The permissions requested are not granted to this installation. ({lacking})");
            return message(422, &text);
        }
        if asked.body["repositories"] != json!(["shop"]) {
            return message(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            );
        }
        let token = format!("ghs_minted{:020}", self.minted.len());
        self.minted.insert(token.clone(), Value::Object(wanted.clone()));
        Said::new(
            201,
            json!({ "token": token, "expires_at": "2030-01-01T00:00:00Z", "permissions": wanted, "repository_selection": "selected" }),
        )
    }

    fn pull(&self, asked: &Asked) -> Said {
        let (title, base) = (text(&asked.body, "title"), text(&asked.body, "base"));
        let head = text(&asked.body, "head");
        let head = head.strip_prefix("acme:").unwrap_or(head);
        let invalid = |field: &str, code: &str, said: Option<String>| {
            let mut error = json!({ "resource": "PullRequest", "code": code });
            if !field.is_empty() {
                error["field"] = field.into();
            }
            if let Some(said) = said {
                error["message"] = said.into();
            }
            Said::new(422, json!({ "message": "Validation Failed", "errors": [error], "status": "422" }))
        };
        let (Some(tip), Some(onto)) = (self.git.branches.get(head), self.git.branches.get(base)) else {
            return invalid("head", "invalid", None);
        };
        if title.is_empty() {
            return invalid("title", "missing_field", None);
        }
        if self.git.history(onto).contains(tip) {
            return invalid("", "custom", Some(format!("No commits between {base} and {head}")));
        }
        let open =
            |pull: &&Value| pull["head"]["ref"] == head && pull["base"]["ref"] == base && pull["state"] == "open";
        if self.pulls.iter().find(open).is_some() {
            return invalid("", "custom", Some(format!("A pull request already exists for acme:{head}.")));
        }
        let number = self.pulls.len() + 1;
        Said::new(
            201,
            json!({
                "number": number, "state": "open", "title": title, "body": asked.body["body"], "merged_at": null,
                "html_url": format!("https://github.example/acme/shop/pull/{number}"), "mergeable_state": "unknown",
                "changed_files": 1,
                "head": { "label": format!("acme:{head}"), "ref": head, "sha": tip, "repo": { "full_name": "acme/shop" } },
                "base": { "label": format!("acme:{base}"), "ref": base, "sha": onto, "repo": { "full_name": "acme/shop" } },
            }),
        )
    }

    fn tree(&mut self, asked: &Asked) -> Said {
        let base = text(&asked.body, "base_tree").to_owned();
        if !base.is_empty() && !matches!(self.git.objects.get(&base), Some(Object::Tree(_))) {
            return message(422, "base_tree is not a valid tree oid");
        }
        let mut files = self.git.files(&base);
        for entry in asked.body["tree"].as_array().cloned().unwrap_or_default() {
            let path = text(&entry, "path").to_owned();
            match entry["sha"].as_str() {
                None if files.remove(&path).is_none() => return message(422, "GitRPC::BadObjectState"),
                None => {}
                Some(id) if !matches!(self.git.objects.get(id), Some(Object::Blob(_))) => {
                    return message(422, "tree.sha is not a valid blob");
                }
                Some(id) => {
                    files.insert(path, (text(&entry, "mode").to_owned(), id.to_owned()));
                }
            }
        }
        let id = self.git.tree_of(&files);
        Said::new(201, json!({ "sha": id, "tree": [], "truncated": false }))
    }

    fn repository(&mut self, asked: &Asked, rest: &[&str]) -> Result<Said, Said> {
        let none = || message(404, "Not Found");
        let said = match (asked.method.as_str(), rest) {
            ("GET", []) => {
                self.allows(asked, "contents", "read")?;
                // Of a token of an installation, GitHub answers as if it could do nothing.
                let person = asked.header("authorization") == format!("Bearer {}", self.token);
                let push = person && self.may_push;
                let permissions =
                    json!({ "admin": false, "maintain": false, "push": push, "triage": person, "pull": person });
                Said::new(
                    200,
                    json!({ "full_name": "acme/shop", "archived": self.archived, "permissions": permissions, "default_branch": "main" }),
                )
            }
            ("GET", ["git", "ref", "heads", name @ ..]) => {
                self.allows(asked, "contents", "read")?;
                let name = name.join("/");
                let id = self.git.branches.get(&name).ok_or_else(none)?;
                Said::new(
                    200,
                    json!({ "ref": format!("refs/heads/{name}"), "object": { "type": "commit", "sha": id } }),
                )
            }
            ("GET", ["git", "commits", id]) => {
                self.allows(asked, "contents", "read")?;
                let (tree, parents, said) = self.git.parts(id).ok_or_else(none)?;
                let parents: Vec<Value> = parents.iter().map(|id| json!({ "sha": id })).collect();
                Said::new(200, json!({ "sha": id, "tree": { "sha": tree }, "parents": parents, "message": said }))
            }
            ("GET", ["git", "trees", id]) => {
                self.allows(asked, "contents", "read")?;
                let Some(Object::Tree(tree)) = self.git.objects.get(*id) else { return Err(none()) };
                let entries: Vec<Value> = tree
                    .iter()
                    .map(|(name, (mode, id))| {
                        let kind = match mode.as_str() {
                            "040000" => "tree",
                            "160000" => "commit",
                            _ => "blob",
                        };
                        json!({ "path": name, "mode": mode, "type": kind, "sha": id })
                    })
                    .collect();
                Said::new(200, json!({ "sha": id, "tree": entries, "truncated": false }))
            }
            ("GET", ["git", "blobs", id]) => {
                self.allows(asked, "contents", "read")?;
                let Some(Object::Blob(bytes)) = self.git.objects.get(*id) else { return Err(none()) };
                // In lines of 60, as GitHub does.
                let packed = STANDARD.encode(bytes);
                let lines: Vec<&str> =
                    packed.as_bytes().chunks(60).map(|line| std::str::from_utf8(line).unwrap()).collect();
                Said::new(
                    200,
                    json!({ "sha": id, "size": bytes.len(), "content": format!("{}\n", lines.join("\n")), "encoding": "base64" }),
                )
            }
            ("POST", ["git", "blobs"]) => {
                self.allows(asked, "contents", "write")?;
                let bytes =
                    STANDARD.decode(text(&asked.body, "content")).map_err(|_| message(422, "invalid base64"))?;
                Said::new(201, json!({ "sha": self.git.blob(&bytes) }))
            }
            ("POST", ["git", "trees"]) => {
                self.allows(asked, "contents", "write")?;
                self.tree(asked)
            }
            ("POST", ["git", "commits"]) => {
                self.allows(asked, "contents", "write")?;
                let parents: Vec<String> =
                    asked.body["parents"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().into()).collect();
                let tree = text(&asked.body, "tree").to_owned();
                if !self.git.objects.contains_key(&tree) {
                    return Err(message(422, "Tree SHA does not exist"));
                }
                let id = self.git.commit(&tree, &parents, text(&asked.body, "message"));
                Said::new(201, json!({ "sha": id }))
            }
            ("POST", ["git", "refs"]) => {
                self.allows(asked, "contents", "write")?;
                let (name, id) = (text(&asked.body, "ref"), text(&asked.body, "sha"));
                let Some(name) = name.strip_prefix("refs/heads/") else {
                    return Err(message(422, "Reference name must start with 'refs/'"));
                };
                if self.git.branches.contains_key(name) {
                    return Err(message(422, "Reference already exists"));
                }
                if self.git.parts(id).is_none() {
                    return Err(message(422, "Object does not exist"));
                }
                self.git.branches.insert(name.into(), id.into());
                self.effects += 1;
                Said::new(
                    201,
                    json!({ "ref": format!("refs/heads/{name}"), "object": { "type": "commit", "sha": id } }),
                )
            }
            ("GET", ["compare", basehead]) => {
                self.allows(asked, "contents", "read")?;
                let (base, head) = basehead.split_once("...").ok_or_else(none)?;
                let base = self.git.branches.get(base).cloned().unwrap_or_else(|| base.to_owned());
                let (old, new) = (self.git.history(&base), self.git.history(head));
                if self.git.parts(head).is_none() {
                    return Err(none());
                }
                let ahead = new.iter().filter(|id| !old.contains(id)).count();
                let behind = old.iter().filter(|id| !new.contains(id)).count();
                let status = match (ahead, behind) {
                    (0, 0) => "identical",
                    (0, _) => "behind",
                    (_, 0) => "ahead",
                    _ => "diverged",
                };
                Said::new(200, json!({ "status": status, "ahead_by": ahead, "behind_by": behind, "files": [] }))
            }
            ("GET", ["pulls"]) => {
                self.allows(asked, "pull_requests", "read")?;
                let head = asked.query("head").unwrap_or_default().to_owned();
                let state = asked.query("state").unwrap_or("open").to_owned();
                let fits = |pull: &&Value| {
                    (head.is_empty() || pull["head"]["label"] == head)
                        && asked.query("base").is_none_or(|base| pull["base"]["ref"] == base)
                        && (state == "all" || pull["state"] == state)
                };
                Said::new(200, self.pulls.iter().rev().filter(fits).cloned().collect::<Vec<_>>().into())
            }
            ("POST", ["pulls"]) => {
                self.allows(asked, "pull_requests", "write")?;
                let said = self.pull(asked);
                if said.status == 201 {
                    self.pulls.push(said.body.clone());
                    self.effects += 1;
                }
                said
            }
            ("GET", ["pulls", number]) => {
                self.allows(asked, "pull_requests", "read")?;
                let found =
                    self.pulls.iter().find(|pull| pull["number"].as_u64() == number.parse().ok()).ok_or_else(none)?;
                Said::new(200, found.clone())
            }
            ("GET", ["commits"]) => {
                self.allows(asked, "contents", "read")?;
                let name = asked.query("sha").unwrap_or("main");
                let tip = self.git.branches.get(name).cloned().unwrap_or_else(|| name.to_owned());
                let most = asked.query("per_page").and_then(|most| most.parse().ok()).unwrap_or(30);
                let list = self.git.history(&tip).into_iter().take(most).map(|id| {
                    let (_, _, said) = self.git.parts(&id).unwrap();
                    json!({ "sha": id, "commit": { "message": said, "author": { "name": "A Person", "date": "2026-01-02T03:04:05Z" } } })
                });
                Said::new(200, list.collect::<Vec<_>>().into())
            }
            ("GET", ["actions", "workflows", file]) => {
                self.allows(asked, "actions", "read")?;
                if *file != "restart.yml" {
                    return Err(none());
                }
                Said::new(
                    200,
                    json!({ "id": 7, "name": "Restart", "path": ".github/workflows/restart.yml", "state": "active" }),
                )
            }
            ("POST", ["actions", "workflows", file, "dispatches"]) => {
                self.allows(asked, "actions", "write")?;
                if *file != "restart.yml" {
                    return Err(none());
                }
                if !self.git.branches.contains_key(text(&asked.body, "ref")) {
                    return Err(message(422, &format!("No ref found for: {}", text(&asked.body, "ref"))));
                }
                let details = asked.body.get("return_run_details");
                if details.is_some() && !self.tells_runs {
                    let said = "Invalid request.\n\n\"return_run_details\" is not a permitted key.";
                    return Err(message(422, said));
                }
                self.dispatched.push(asked.body.clone());
                self.effects += 1;
                match (details, 100 + self.dispatched.len()) {
                    (Some(Value::Bool(true)), id) => {
                        let path = format!("acme/shop/actions/runs/{id}");
                        let body = json!({
                            "workflow_run_id": id, "run_url": format!("https://api.github.com/repos/{path}"),
                            "html_url": format!("https://github.com/{path}"),
                        });
                        Said::new(200, body)
                    }
                    _ => Said::new(204, Value::Null),
                }
            }
            ("GET", ["actions", "workflows", "restart.yml", "runs"]) => {
                self.allows(asked, "actions", "read")?;
                let dispatched = asked.query("event").is_none_or(|event| event == "workflow_dispatch");
                let run = |(at, body): (usize, &Value)| {
                    let id = 101 + at;
                    json!({
                        "id": id, "event": "workflow_dispatch", "head_branch": body["ref"], "status": "queued",
                        "created_at": "2026-01-02T03:04:05Z", "actor": { "login": "rounds[bot]" },
                        "html_url": format!("https://github.com/acme/shop/actions/runs/{id}"),
                    })
                };
                let runs: Vec<Value> = self.dispatched.iter().enumerate().rev().map(run).collect();
                let runs: Vec<&Value> = runs
                    .iter()
                    .filter(|run| dispatched && asked.query("branch").is_none_or(|name| run["head_branch"] == name))
                    .collect();
                Said::new(200, json!({ "total_count": runs.len(), "workflow_runs": runs }))
            }
            _ => none(),
        };
        Ok(said)
    }
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

pub(crate) fn message(status: u16, text: &str) -> Said {
    let body =
        json!({ "message": text, "documentation_url": "https://docs.github.com/rest", "status": status.to_string() });
    Said::new(status, body)
}

trait FromPem {
    fn from_pem(pem: &str) -> Self;
}

impl FromPem for rustls::pki_types::PrivateKeyDer<'static> {
    fn from_pem(pem: &str) -> Self {
        use rustls::pki_types::pem::PemObject as _;
        Self::from_pem_slice(pem.as_bytes()).unwrap()
    }
}

impl Fake for Hub {
    fn answer(&mut self, asked: &Asked) -> Said {
        if asked.header("x-github-api-version") != "2022-11-28" || asked.header("user-agent").is_empty() {
            return message(400, "Request forbidden by administrative rules");
        }
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        match (asked.method.as_str(), &path[..]) {
            ("POST", ["app", "installations", "42", "access_tokens"]) => self.mint(asked),
            ("GET", ["rate_limit"]) => match self.allows(asked, "metadata", "read") {
                Ok(()) => Said::new(200, json!({ "resources": {} })),
                Err(said) => said,
            },
            (_, ["repos", "acme", "shop", rest @ ..]) => self.repository(asked, rest).unwrap_or_else(|said| said),
            _ => message(404, "Not Found"),
        }
    }
}
