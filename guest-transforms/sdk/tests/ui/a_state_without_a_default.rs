use wasmill_guest::State;

#[derive(State)]
struct Kept {
    count: i64,
}

fn main() {}
