use two;
fn main() {
    two();
    
    use one;
}
