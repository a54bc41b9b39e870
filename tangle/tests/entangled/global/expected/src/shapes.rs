//! Shapes.

mod inner {
    fn first() {
        deeper();
    
        // A blank line follows, and then one of white space.
        
          
        let x = 1;
    }
    
    fn second() {}

    fn after() {}
}
		indented = True
	
	done = 1
<<not a name>>
call(<<inner-part>>);
<<inner-part>> // and a comment
<< inner-part >>
