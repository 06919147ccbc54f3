struct Convert;

wasmill_guest::transform!(Convert);

mod columns {
    struct Fold;

    wasmill_guest::column_aggregate!(Fold);
}

fn main() {}
