//! What to try when a test failed. The error itself is shown beside it; this only says where people usually find the cause.

use rounds_core::connector::Role;

/// What to try, most likely first. Never empty.
pub(super) fn hints(role: Role, error: &str) -> Vec<&'static str> {
    let error = error.to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| error.contains(sign));
    let mut hints = Vec::new();
    if says(&["connection refused", "refused the connection", "was refused"]) {
        hints.push(
            "Nothing listens at that address and port. Rounds connects from its own host: `localhost` is that host, not \
             your computer.",
        );
    }
    if says(&["dns", "no such host", "lookup", "resolve"]) {
        hints.push("The name is not known where Rounds runs. Check the spelling, or use a name its network resolves.");
    }
    if says(&["timed out", "timeout", "in time", "deadline"]) {
        hints.push(
            "Nobody answered in time: a firewall or network policy between Rounds and the other side, or a wrong port.",
        );
    }
    if says(&["certificate", "x509", "tls", "ssl"]) {
        hints.push(
            "The certificate is not trusted: give the authority that signed it, or use the name that it was made for.",
        );
    }
    if says(&["401", "unauthorized", "logged in", "api key", "authentication"]) {
        hints.push("The credentials are wrong, expired or for somewhere else: make new ones and save them here.");
    }
    if says(&["403", "forbidden", "cannot"]) {
        hints.push(match role {
            Role::Execution => {
                "The credentials are right and may not do this: give their service account a Role in each allowed \
                 namespace, or take the namespace out of the list."
            }
            _ => "The credentials are right and may not do this: give them that right on the other side.",
        });
    }
    if says(&["404", "not found"]) {
        hints.push("Something answers there, but not this: check the path of the address, and what it serves.");
    }
    if says(&["needs kubectl", "kubectl could not", "not a kubectl"]) {
        hints.push("Rounds runs `kubectl` on its own host: install it there, or set KUBECTL to its path, and start Rounds again.");
    }
    if says(&["kubeconfig", "secret"]) && role == Role::Execution {
        hints.push(
            "The kubeconfig must carry its data inline: `kubectl config view --raw --minify --flatten` prints such a one.",
        );
    }
    if hints.is_empty() {
        hints.push(match role {
            Role::Datasource => "Try the same address with `curl` from the host that Rounds runs on.",
            Role::Execution => "Try `kubectl version` with the same kubeconfig on the host that Rounds runs on.",
            Role::Model => "Check the address, the key and the model's name with your provider.",
            _ => "Check the address and the credentials, and test again.",
        });
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_something_to_try_and_the_usual_ones_have_their_own() {
        for (role, error, expected) in [
            (Role::Datasource, "error sending request: Connection refused (os error 111)", "Nothing listens"),
            (Role::Execution, "pods is forbidden: User \"x\" cannot list resource \"pods\"", "a Role in each allowed"),
            (Role::Model, "HTTP 401: invalid x-api-key", "credentials are wrong"),
            (Role::Datasource, "the connector did not answer in time", "Nobody answered in time"),
            (Role::Execution, "this connector has no kubeconfig: paste one", "--flatten"),
            (Role::Notifier, "something else", "test again"),
        ] {
            let hints = hints(role, error);
            assert!(hints.iter().any(|hint| hint.contains(expected)), "{error}: {hints:?}");
        }
    }
}
