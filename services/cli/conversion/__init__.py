"""Folders of cases in the BDMAP layout, written anew as other programs read them."""
