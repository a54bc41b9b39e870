def main():
    print("braces")
    
    done()
