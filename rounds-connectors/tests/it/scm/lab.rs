//! A stand-in for GitLab's REST API v4, with a project behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::git::{Files, Git, Object};
use super::server::{Asked, Fake, Said};

pub(crate) const TOKEN: &str = "glpat-TESTTOKEN0123456789";

pub(crate) struct Lab {
    pub(crate) git: Git,
    pub(crate) merges: Vec<Value>,
    pub(crate) pipelines: Vec<Value>,
    pub(crate) level: u64,
    pub(crate) token: String,
    /// What people can see of what was asked: branches, merge requests, pipelines.
    pub(crate) effects: u64,
}

impl Lab {
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
                (".gitlab-ci.yml", Some("test: {}\n")),
            ],
        );
        Self { git, merges: Vec::new(), pipelines: Vec::new(), level: 30, token: TOKEN.into(), effects: 0 }
    }

    pub(crate) fn made(&self) -> Vec<(String, String)> {
        self.git.branches.iter().filter(|(name, _)| *name != "main").map(|(a, b)| (a.clone(), b.clone())).collect()
    }

    /// A name of a branch or an id.
    fn tip(&self, name: &str) -> Option<String> {
        let id = self.git.branches.get(name).cloned().unwrap_or_else(|| name.to_owned());
        self.git.parts(&id).map(|_| id)
    }

    fn commit_json(&self, id: &str) -> Value {
        let (_, parents, message) = self.git.parts(id).unwrap();
        let title = message.lines().next().unwrap_or_default().to_owned();
        json!({ "id": id, "short_id": &id[..8], "title": title, "message": message, "parent_ids": parents, "author_name": "A Person", "created_at": "2026-01-02T03:04:05.000+00:00" })
    }

    /// The commits API: a new branch at `start_sha`, with one commit of these actions.
    fn commit(&mut self, body: &Value) -> Result<Said, Said> {
        let branch = text(body, "branch").to_owned();
        let refuse = |text: &str| Said::new(400, json!({ "message": text }));
        if self.git.branches.contains_key(&branch) && !body["start_sha"].is_null() {
            return Err(refuse(&format!(
                "A branch called '{branch}' already exists. Switch to that branch in order to make changes"
            )));
        }
        let start = text(body, "start_sha").to_owned();
        if self.git.parts(&start).is_none() {
            return Err(refuse("You can only create or edit files when you are on a branch"));
        }
        let mut files: Files = self.git.files_of(&start);
        for action in body["actions"].as_array().unwrap() {
            let path = text(action, "file_path").to_owned();
            let found = files.get(&path).cloned();
            match (text(action, "action"), found) {
                ("create", Some(_)) => return Err(refuse("A file with this name already exists")),
                ("create", None) => {
                    let id = self.git.blob(&content(action));
                    files.insert(path, ("100644".into(), id));
                }
                (_, None) => return Err(refuse("A file with this name doesn't exist")),
                ("update", Some((mode, _))) => {
                    let id = self.git.blob(&content(action));
                    files.insert(path, (mode, id));
                }
                ("delete", Some(_)) => {
                    files.remove(&path);
                }
                ("chmod", Some((_, id))) => {
                    let mode = if action["execute_filemode"] == true { "100755" } else { "100644" };
                    files.insert(path, (mode.into(), id));
                }
                _ => return Err(refuse("actions[action] does not have a valid value")),
            }
        }
        let tree = self.git.tree_of(&files);
        let id = self.git.commit(&tree, &[start], text(body, "commit_message"));
        self.git.branches.insert(branch, id.clone());
        self.effects += 1;
        Ok(Said::new(201, self.commit_json(&id)))
    }

    fn merge(&mut self, body: &Value) -> Result<Said, Said> {
        let (source, target) = (text(body, "source_branch").to_owned(), text(body, "target_branch").to_owned());
        let open = |merge: &&Value| {
            merge["source_branch"] == source.as_str()
                && merge["target_branch"] == target.as_str()
                && merge["state"] == "opened"
        };
        if let Some(found) = self.merges.iter().find(open) {
            let text = format!("Another open merge request already exists for this source branch: !{}", found["iid"]);
            return Err(Said::new(409, json!({ "message": [text] })));
        }
        let Some(tip) = self.git.branches.get(&source).cloned() else {
            return Err(Said::new(400, json!({ "message": { "source_branch": ["does not exist"] } })));
        };
        let iid = self.merges.len() + 1;
        let merge = json!({
            "id": 1000 + iid, "iid": iid, "project_id": 5, "source_project_id": 5, "target_project_id": 5,
            "state": "opened", "title": body["title"], "description": body["description"], "sha": tip,
            "source_branch": source, "target_branch": target, "detailed_merge_status": "checking",
            "web_url": format!("https://gitlab.example/infra/apps/shop/-/merge_requests/{iid}"),
        });
        self.merges.push(merge.clone());
        self.effects += 1;
        Ok(Said::new(201, merge))
    }

    fn project(&mut self, asked: &Asked, rest: &[&str]) -> Result<Said, Said> {
        let none = |what: &str| Said::new(404, json!({ "message": format!("404 {what} Not Found") }));
        let write =
            || if self.level >= 30 { Ok(()) } else { Err(Said::new(403, json!({ "message": "403 Forbidden" }))) };
        Ok(match (asked.method.as_str(), rest) {
            ("GET", []) => Said::new(
                200,
                json!({ "id": 5, "path_with_namespace": "infra/apps/shop", "archived": false, "permissions": { "project_access": null, "group_access": { "access_level": self.level } } }),
            ),
            ("GET", ["repository", "branches", name]) => {
                let tip = self.git.branches.get(*name).ok_or_else(|| none("Branch"))?;
                Said::new(
                    200,
                    json!({ "name": name, "commit": self.commit_json(tip), "protected": false, "can_push": true }),
                )
            }
            ("GET", ["repository", "commits", id]) => {
                self.git.parts(id).ok_or_else(|| none("Commit"))?;
                Said::new(200, self.commit_json(id))
            }
            ("GET", ["repository", "commits"]) => {
                let tip = self.tip(asked.query("ref_name").unwrap_or("main")).ok_or_else(|| none("Commit"))?;
                let most = asked.query("per_page").and_then(|most| most.parse().ok()).unwrap_or(20);
                let list: Vec<Value> =
                    self.git.history(&tip).iter().take(most).map(|id| self.commit_json(id)).collect();
                Said::new(200, list.into())
            }
            ("POST", ["repository", "commits"]) => {
                write()?;
                self.commit(&asked.body)?
            }
            ("GET", ["repository", "merge_base"]) => {
                let refs = asked.query.get("refs[]").cloned().unwrap_or_default();
                let tips: Vec<String> = refs.iter().filter_map(|name| self.tip(name)).collect();
                let [a, b] = &tips[..] else { return Err(Said::new(400, json!({ "message": "Could not find ref" }))) };
                let old = self.git.history(a);
                let base =
                    self.git.history(b).into_iter().find(|id| old.contains(id)).ok_or_else(|| none("Merge Base"))?;
                Said::new(200, self.commit_json(&base))
            }
            ("GET", ["repository", "tree"]) => {
                let tip = self.tip(asked.query("ref").unwrap_or("main")).ok_or_else(|| none("Tree"))?;
                let mut tree = self.git.parts(&tip).unwrap().0;
                for part in asked.query("path").unwrap_or_default().split('/').filter(|part| !part.is_empty()) {
                    let Some(Object::Tree(entries)) = self.git.objects.get(&tree) else { return Err(none("Tree")) };
                    tree =
                        entries.get(part).map(|(_, id)| id.clone()).ok_or_else(|| none("invalid revision or path"))?;
                }
                let Some(Object::Tree(entries)) = self.git.objects.get(&tree) else { return Err(none("Tree")) };
                let all: Vec<Value> = entries
                    .iter()
                    .map(|(name, (mode, id))| json!({ "id": id, "name": name, "mode": mode, "type": if mode == "040000" { "tree" } else { "blob" } }))
                    .collect();
                // Pages of two, so that whoever does not turn them sees too little.
                let page: usize = asked.query("page").and_then(|page| page.parse().ok()).unwrap_or(1);
                let here: Vec<Value> = all.iter().skip((page - 1) * 2).take(2).cloned().collect();
                let next = if all.len() > page * 2 { (page + 1).to_string() } else { String::new() };
                Said::new(200, here.into()).with("x-next-page", next).with("x-page", page)
            }
            ("GET", ["repository", "blobs", id]) => {
                let Some(Object::Blob(bytes)) = self.git.objects.get(*id) else { return Err(none("Blob")) };
                Said::new(
                    200,
                    json!({ "size": bytes.len(), "encoding": "base64", "content": STANDARD.encode(bytes), "sha": id }),
                )
            }
            ("GET", ["merge_requests"]) => {
                let fits = |merge: &&Value| {
                    ["source_branch", "target_branch"]
                        .iter()
                        .all(|field| asked.query(field).is_none_or(|value| merge[*field] == value))
                };
                Said::new(200, self.merges.iter().rev().filter(fits).cloned().collect::<Vec<_>>().into())
            }
            ("POST", ["merge_requests"]) => {
                write()?;
                self.merge(&asked.body)?
            }
            ("GET", ["merge_requests", iid]) => {
                let found = self.merges.iter().find(|merge| merge["iid"].as_u64() == iid.parse().ok());
                Said::new(200, found.cloned().ok_or_else(|| none(""))?)
            }
            ("GET", ["pipelines"]) => {
                let wanted = |one: &Value| {
                    asked.query("ref").is_none_or(|name| one["ref"] == name)
                        && asked.query("source").is_none_or(|source| source == "api")
                };
                let one = |(at, body): (usize, &Value)| {
                    let id = at + 1;
                    json!({
                        "id": id, "iid": id, "ref": body["ref"], "source": "api", "status": "running",
                        "created_at": "2026-01-02T03:04:05.000Z",
                        "web_url": format!("https://gitlab.example/infra/apps/shop/-/pipelines/{id}"),
                    })
                };
                let newest = self.pipelines.iter().enumerate().rev().map(one).filter(wanted);
                Said::new(200, newest.collect::<Vec<_>>().into())
            }
            ("POST", ["pipeline"]) => {
                write()?;
                if !self.git.branches.contains_key(text(&asked.body, "ref")) {
                    return Err(Said::new(400, json!({ "message": { "base": ["Reference not found"] } })));
                }
                self.pipelines.push(asked.body.clone());
                self.effects += 1;
                let id = self.pipelines.len();
                Said::new(
                    201,
                    json!({ "id": id, "status": "created", "web_url": format!("https://gitlab.example/infra/apps/shop/-/pipelines/{id}") }),
                )
            }
            _ => Said::new(404, json!({ "error": "404 Not Found" })),
        })
    }
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

fn content(action: &Value) -> Vec<u8> {
    match text(action, "encoding") {
        "base64" => STANDARD.decode(text(action, "content")).unwrap(),
        _ => text(action, "content").into(),
    }
}

impl Fake for Lab {
    fn answer(&mut self, asked: &Asked) -> Said {
        if asked.header("private-token") != self.token {
            return Said::new(401, json!({ "message": "401 Unauthorized" }));
        }
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        match (asked.method.as_str(), &path[..]) {
            ("GET", ["api", "v4", "version"]) => Said::new(200, json!({ "version": "17.9.0-ee", "revision": "abc" })),
            (_, ["api", "v4", "projects", "infra/apps/shop", rest @ ..]) => {
                self.project(asked, rest).unwrap_or_else(|said| said)
            }
            (_, ["api", "v4", "projects", ..]) => Said::new(404, json!({ "message": "404 Project Not Found" })),
            _ => Said::new(404, json!({ "error": "404 Not Found" })),
        }
    }
}
