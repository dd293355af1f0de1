# A COCO teacher for a CrowdPose student: HRNet-W48 with UDP teaches SimCC HRNet-W32 the 12 keypoints that both data sets name; the
# labels alone teach top_head and neck. CrowdPose takes images from COCO: the teacher may have seen some of its test set.
_base_ = ['../../simcc/crowdpose/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w48_udp-8xb32-210e_coco-256x192.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w48_udp-8xb32-210e_coco-256x192-3feaef8f_20220913.pth',
    # in a crowd a teacher may be unsure whose keypoint it is
    teacher_confidence=1.0,
    # α and β are the paper's, as are the student, its loss and the teacher's backbone
    distill_losses=dict(
        loss_feat=dict(student_channels=32, teacher_channels=48)))

# hooks
custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
