use one;

fn main() {
    one();
    use one;
    two();
    
    use one;
}
// Shared.
use two;
