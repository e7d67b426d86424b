"""What tests share: pictures, data sets, archives and servers made for them."""
