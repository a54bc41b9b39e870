#!/bin/sh
if true; then
  // A blank line follows, and then one of white space.
  
    
  let x = 1;
fi
