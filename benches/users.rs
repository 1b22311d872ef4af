//! The users that everything is measured on: ids like UUIDs, in no order, and about 280 bytes of memory.

/// One user, as a program holds it once the request has been read.
#[derive(Clone, Debug)]
pub struct User {
    pub id: String,
    /// A JSON object without insignificant whitespace.
    pub memory: String,
}

/// A bijection, so that ids are distinct and come in no order.
fn scatter(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The id of user `n`, in the form of a random UUID.
#[must_use]
pub fn id(n: u64) -> String {
    let (high, low) = (scatter(n), scatter(!n));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFF,
        low >> 52,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// The memory of user `n`; another `version` is another text of the same length.
#[must_use]
pub fn memory(n: u64, version: u64) -> String {
    format!(
        concat!(
            r#"{{"name":"User {:08}","email":"user{:08}@example.com","plan":"premium","version":{:04},"score":0.875,"#,
            r#""active":true,"tags":["beta","newsletter","eu-west-1"],"preferences":{{"language":"en","theme":"dark","#,
            r#""notifications":{{"email":true,"push":false}}}},"last_topics":["billing","quota limits"]}}"#,
        ),
        n,
        n,
        version + 1000,
    )
}

#[must_use]
pub fn user(n: u64, version: u64) -> User {
    User { id: id(n), memory: memory(n, version) }
}

/// Users `first`, `first + 1`, …
#[must_use]
pub fn users(first: u64, count: u64, version: u64) -> Vec<User> {
    (first..first + count).map(|n| user(n, version)).collect()
}

/// A user as an item of the documented request, or a line of NDJSON, with a memory enlarged by
/// `padding` bytes.
#[must_use]
pub fn item(n: u64, version: u64, padding: usize) -> String {
    let User { id, mut memory } = user(n, version);
    if padding > 0 {
        memory.pop();
        memory.push_str(r#","notes":""#);
        memory.extend(std::iter::repeat_n("words ", padding / 6).flat_map(str::chars));
        memory.push_str(r#""}"#);
    }
    format!(r#"{{"external_user_id":"{id}","memory":{memory}}}"#)
}

/// The documented request body of these users.
#[must_use]
pub fn body(users: &[User]) -> String {
    let items: Vec<_> = users
        .iter()
        .map(|User { id, memory }| format!(r#"{{"external_user_id":"{id}","memory":{memory}}}"#))
        .collect();
    format!(r#"{{"users":[{}]}}"#, items.join(","))
}
