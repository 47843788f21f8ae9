"""What is wrong with a folder of cases in the BDMAP layout, whoever made it. Reads; changes nothing."""
