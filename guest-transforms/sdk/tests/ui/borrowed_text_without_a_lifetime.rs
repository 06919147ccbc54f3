use wasmill_guest::Input;

#[derive(Input)]
struct Sale {
    currency: &str,
}

#[derive(Input)]
struct Always {
    currency: &'static str,
}

fn main() {}
