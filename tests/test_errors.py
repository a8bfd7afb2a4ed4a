import pickle

from medkit.errors import CaseError


def test_case_error_keeps_its_code_across_processes():
    error = pickle.loads(pickle.dumps(CaseError("voxels-not-finite", "scan.nii: 3 voxels are NaN")))
    assert (error.code, str(error)) == ("voxels-not-finite", "scan.nii: 3 voxels are NaN")
