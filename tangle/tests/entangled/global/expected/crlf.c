int a;

  int c;
