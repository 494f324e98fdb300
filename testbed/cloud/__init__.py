"""The fake cloud: public addresses, load balancers, public DNS."""
