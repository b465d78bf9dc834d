//! Behaviour suites that the author of a store or an adapter runs against it.
