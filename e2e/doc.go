// Package e2e is vdevil tried as a whole, in real guests: every scenario on every OpenZFS version, and what the lab
// promises besides. The specs assert on stored results and on what a user sees, never on how the lab comes to it.
//
// It needs nothing but Go and a Debian or Ubuntu host: host packages, image and checkpoints are made by whichever spec
// comes first, under file locks, and cached where vdevil itself caches them.
//
//	go test -timeout 60m ./e2e                                          what runs with every change
//	go test -timeout 60m ./e2e -ginkgo.label-filter=promise             the lab's own promises
//	go test -timeout 60m ./e2e -ginkgo.label-filter='cause:memory && zfs:2.3.2'
//	go test -timeout 6h ./e2e -ginkgo.label-filter='scenario'           every scenario on every version
//	go test -timeout 60m ./e2e -ginkgo.junit-report=junit.xml -ginkgo.json-report=report.json
//	go test -timeout 6h ./e2e -ginkgo.label-filter=driver:libvirt       every scenario, its guests run by a libvirtd
//	go run github.com/onsi/ginkgo/v2/ginkgo -p ./e2e                    in parallel, the lab's CPUs shared out
//
// What scenarios were asked is a campaign each, in a store that goes with the suite, and the report of all is attached to the suite's.
// With a directory in $VDEVIL_TEST_STATE they stay, with the report as a page: vdevil serve shows them live if that is its
// $XDG_STATE_HOME, and a suite that was killed goes on where it was if it has the same seed, -ginkgo.seed=7.
//
// Without a label filter all but cost:nightly is run, which leaves out the versions that no expectation is stated for;
// any filter replaces that one. The timeout is for go test itself: where guests are emulated, its own ten minutes may not
// suffice. Shortly before it is over, the suite ends its guests and says which spec it was at.
//
// Labels are scenario or promise; for scenarios also cause:software, cause:memory or cause:disk, control where there is a
// control arm, cost:fast or cost:nightly, and zfs:VERSION. What another driver than the default one does, in a libvirtd that
// the suite starts for itself, has driver:libvirt.
package e2e
