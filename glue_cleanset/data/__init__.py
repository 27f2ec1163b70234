"""Files that come with the package; see the LICENSE file of each."""
