// a/deep
  part of a/deep
  
  more of a/deep
  part of a-b
  
  more of a-b
  part of a
  
  more of a
  part of z
  
  more of z
// a-b
  part of a/deep
  
  more of a/deep
  part of a-b
  
  more of a-b
  part of a
  
  more of a
  part of z
  
  more of z
// a
  part of a/deep
  
  more of a/deep
  part of a-b
  
  more of a-b
  part of a
  
  more of a
  part of z
  
  more of z
// z
  part of a/deep
  
  more of a/deep
  part of a-b
  
  more of a-b
  part of a
  
  more of a
  part of z
  
  more of z
