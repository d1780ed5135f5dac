// The customer's page works without this script; with it, it does so live.
